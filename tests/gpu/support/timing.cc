#include "tests/gpu/support/timing.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "tests/gpu/support/device_array.h"

namespace precis::gpu_test {

void Require(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  std::fprintf(stderr, "%s: %s\n", what, cudaGetErrorString(status));
  std::exit(2);
}

Timing TimeCalls(const std::function<void(cudaStream_t, int)>& enqueue, int calls, int repeats) {
  cudaStream_t stream;
  PRECIS_REQUIRE(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  enqueue(stream, 0);
  PRECIS_REQUIRE(cudaStreamSynchronize(stream));
  cudaGraph_t graph;
  cudaGraphExec_t executable;
  PRECIS_REQUIRE(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  for (int i = 0; i < calls; ++i) enqueue(stream, i);
  PRECIS_REQUIRE(cudaStreamEndCapture(stream, &graph));
  PRECIS_REQUIRE(cudaGraphInstantiate(&executable, graph, 0));
  cudaEvent_t begin, end;
  PRECIS_REQUIRE(cudaEventCreate(&begin));
  PRECIS_REQUIRE(cudaEventCreate(&end));
  std::vector<double> times;
  for (int i = 0; i < repeats + 3; ++i) {
    PRECIS_REQUIRE(cudaEventRecord(begin, stream));
    PRECIS_REQUIRE(cudaGraphLaunch(executable, stream));
    PRECIS_REQUIRE(cudaEventRecord(end, stream));
    PRECIS_REQUIRE(cudaEventSynchronize(end));
    float milliseconds = 0;
    PRECIS_REQUIRE(cudaEventElapsedTime(&milliseconds, begin, end));
    if (i >= 3) times.push_back(1e3 * milliseconds / calls);
  }
  std::sort(times.begin(), times.end());
  PRECIS_REQUIRE(cudaEventDestroy(begin));
  PRECIS_REQUIRE(cudaEventDestroy(end));
  PRECIS_REQUIRE(cudaGraphExecDestroy(executable));
  PRECIS_REQUIRE(cudaGraphDestroy(graph));
  PRECIS_REQUIRE(cudaStreamDestroy(stream));
  return {times[times.size() / 2], times[times.size() / 4], times[times.size() * 3 / 4]};
}

}  // namespace precis::gpu_test
