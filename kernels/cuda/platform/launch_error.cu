#include "kernels/cuda/platform/launch.h"

#ifndef PRECIS_SIMT

#include <atomic>

namespace precis::kernels::cuda {
namespace {
std::atomic<int> first_error{cudaSuccess};
}

cudaError_t TakeLaunchError() { return static_cast<cudaError_t>(first_error.exchange(cudaSuccess)); }

void KeepLaunchError(cudaError_t error) {
  int none = cudaSuccess;
  first_error.compare_exchange_strong(none, error);
}

}  // namespace precis::kernels::cuda

#endif
