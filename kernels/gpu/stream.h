#ifndef PRECIS_KERNELS_GPU_STREAM_H_
#define PRECIS_KERNELS_GPU_STREAM_H_

namespace precis::kernels {

// A queue of work on a GPU: a cudaStream_t on a CUDA device.
struct Stream {
  void* handle = nullptr;
};
// A point in a stream: a cudaEvent_t on a CUDA device.
struct Event {
  void* handle = nullptr;
};

}  // namespace precis::kernels

#endif  // PRECIS_KERNELS_GPU_STREAM_H_
