#ifndef PRECIS_KERNELS_CUDA_PLATFORM_TENSOR_MAP_H_
#define PRECIS_KERNELS_CUDA_PLATFORM_TENSOR_MAP_H_

#include "kernels/cuda/platform/platform.h"
#include "kernels/cuda/platform/ptx_types.h"

namespace precis::kernels::PRECIS_GPU_NS {

// A tiled tensor in device memory, innermost dimension first.
struct TensorMapSpec {
  void* base = nullptr;     // 16-byte aligned
  int element_bytes = 2;    // 2: bf16, 4: f32
  int rank = 0;             // 1 .. 5
  uint64_t dims[5] = {};    // elements
  uint64_t strides[5] = {}; // bytes; strides[0] is element_bytes; multiples of 16
  uint32_t box[5] = {};     // elements that one copy moves; box[0] * element_bytes at most the swizzle's span
  Swizzle swizzle = Swizzle::kNone;
};

// Host. False where the driver refuses the map (address or strides not multiples of 16 bytes, box too large) or has none (before CUDA 12).
bool MakeTensorMap(const TensorMapSpec& spec, TensorMap* map);

}  // namespace precis::kernels::PRECIS_GPU_NS

#endif  // PRECIS_KERNELS_CUDA_PLATFORM_TENSOR_MAP_H_
