#ifndef PRECIS_TESTS_GPU_SUPPORT_TIMING_H_
#define PRECIS_TESTS_GPU_SUPPORT_TIMING_H_

#include <cuda_runtime_api.h>

#include <functional>

namespace precis::gpu_test {

struct Timing {
  double median_us;
  double low_us, high_us;  // quartiles
};

// Times what `enqueue` puts on a stream: `calls` of it in a CUDA graph, the graph replayed `repeats` times between events, after a warm-up.
// enqueue(stream, i): i = 0 .. calls - 1, so that inputs can rotate.
Timing TimeCalls(const std::function<void(cudaStream_t, int)>& enqueue, int calls, int repeats);

}  // namespace precis::gpu_test

#endif  // PRECIS_TESTS_GPU_SUPPORT_TIMING_H_
