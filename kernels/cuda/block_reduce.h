#ifndef PRECIS_KERNELS_CUDA_BLOCK_REDUCE_H_
#define PRECIS_KERNELS_CUDA_BLOCK_REDUCE_H_

// Sums over the threads of a warp or a block, in one order: bits don't depend on timing.

#include "kernels/cuda/platform/platform.h"

namespace precis::kernels::PRECIS_GPU_NS {

// The sum over the warp, in every lane (a butterfly: all lanes add the same pairs).
PRECIS_DEVICE float WarpSum(float v) {
  PRECIS_UNROLL
  for (int mask = 16; mask > 0; mask >>= 1) v += ShuffleXor(v, mask);
  return v;
}

PRECIS_DEVICE float WarpMax(float v) {
  PRECIS_UNROLL
  for (int mask = 16; mask > 0; mask >>= 1) {
    const float other = ShuffleXor(v, mask);
    v = v > other ? v : other;
  }
  return v;
}

// The sum over a block of kThreads, in every thread. `scratch` has kThreads / 32 floats and may be used again after the call.
template <int kThreads>
PRECIS_DEVICE float BlockSum(float v, float* scratch) {
  constexpr int kWarps = kThreads / 32;
  v = WarpSum(v);
  if (kWarps == 1) return v;
  if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = v;
  SyncThreads();
  float sum = 0;
  PRECIS_UNROLL
  for (int i = 0; i < kWarps; ++i) sum += scratch[i];
  SyncThreads();
  return sum;
}

}  // namespace precis::kernels::PRECIS_GPU_NS

#endif  // PRECIS_KERNELS_CUDA_BLOCK_REDUCE_H_
