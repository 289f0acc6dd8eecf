#ifndef PRECIS_KERNELS_CUDA_PLATFORM_MULTIPROCESSORS_H_
#define PRECIS_KERNELS_CUDA_PLATFORM_MULTIPROCESSORS_H_

#include "kernels/cuda/platform/platform.h"

namespace precis::kernels::PRECIS_GPU_NS {

// Of the current device: the grid of kernels whose blocks stay and take one item after another. The SIMT device has as many as the caller says: few enough that
// small shapes give a block more than one item, and more than one block.
inline int Multiprocessors([[maybe_unused]] int on_the_host) {
#ifdef PRECIS_SIMT
  return on_the_host;
#else
  int device = 0, count = 0;
  cudaGetDevice(&device);
  cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device);
  return count;
#endif
}

}  // namespace precis::kernels::PRECIS_GPU_NS

#endif  // PRECIS_KERNELS_CUDA_PLATFORM_MULTIPROCESSORS_H_
