#ifndef PRECIS_KERNELS_CUDA_PLATFORM_LAUNCH_H_
#define PRECIS_KERNELS_CUDA_PLATFORM_LAUNCH_H_

// Launch(kernel, config, arguments...): enqueues a grid. On a CUDA device an error is kept and comes out of GpuDevice::Synchronize; the SIMT device runs the
// grid before it returns.

#include <cstdint>

#include "kernels/cuda/platform/platform.h"
#include "kernels/gpu/stream.h"

namespace precis::kernels {

struct Dim3 {
  int64_t x = 1, y = 1, z = 1;
  constexpr Dim3() = default;
  constexpr Dim3(int64_t x, int64_t y = 1, int64_t z = 1) : x(x), y(y), z(z) {}  // NOLINT: a number is a line of blocks
};

struct LaunchConfig {
  Dim3 grid;
  Dim3 block;
  int shared_bytes = 0;
  Stream stream;
  bool dependent = false;  // may start before the kernel before it has ended; the kernel calls GridDependencyWait
};

}  // namespace precis::kernels

#ifdef PRECIS_SIMT
#include "kernels/simt/simt_launch.h"
#else
#include "kernels/cuda/platform/cuda_launch.h"
#endif

#endif  // PRECIS_KERNELS_CUDA_PLATFORM_LAUNCH_H_
