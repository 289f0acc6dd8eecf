#ifndef PRECIS_KERNELS_CUDA_PLATFORM_PLATFORM_H_
#define PRECIS_KERNELS_CUDA_PLATFORM_PLATFORM_H_

// The surface that kernels are written against, in two worlds: CUDA, and the host (kernels/simt), where every function below has the same name and meaning.
//
//   PRECIS_GPU_NS                      cuda or simt: the namespace of all kernel code
//   PRECIS_KERNEL(threads, blocks)     a kernel, its block size and the blocks that shall fit a multiprocessor
//   PRECIS_DEVICE, PRECIS_HOST_DEVICE, PRECIS_GRID_CONSTANT, PRECIS_UNROLL
//   threadIdx, blockIdx, blockDim, gridDim
//   DynamicShared()                    the only shared memory: 1,024-byte aligned, not initialised
//   SyncThreads, SyncWarp, NamedBarrierSync, NamedBarrierArrive
//   ShuffleXor, ShuffleIdx, ShuffleDown, Ballot       whole warp, 32-bit values
//   AtomicAdd, AtomicMax, ThreadFence
//   Bf16, ToFloat, ToBf16, PackBf16, UnpackBf16       round to nearest even
//   Exp2, Log2 (approximate), Rsqrt, Tanh, Fma, FastDivide
//   Vec16, Load16, LoadStream16, Store16              16-byte accesses
//   GridDependencyWait, GridDependencyLaunch          programmatic dependent launch
//
// Kernels use no static shared memory, no static variables, no recursion, and call nothing else.

#include <cstdint>

namespace precis::kernels {

struct Bf16 {
  uint16_t bits;
};

struct alignas(16) Vec16 {
  uint32_t w[4];
};

}  // namespace precis::kernels

#ifdef PRECIS_SIMT
#include "kernels/simt/simt_platform.h"
#else
#include "kernels/cuda/platform/cuda_platform.h"
#endif

#endif  // PRECIS_KERNELS_CUDA_PLATFORM_PLATFORM_H_
