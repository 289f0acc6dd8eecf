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

// Host. bf16 rows [rows][columns], `stride` elements apart, copied in boxes of box_rows x box_columns with 128-byte swizzle.
inline bool MakeRowsMap(const void* base, int64_t rows, int64_t columns, int64_t stride, int box_rows, int box_columns, TensorMap* map) {
  TensorMapSpec spec;
  spec.base = const_cast<void*>(base);
  spec.rank = 2;
  spec.dims[0] = static_cast<uint64_t>(columns);
  spec.dims[1] = static_cast<uint64_t>(rows);
  spec.strides[0] = 2;
  spec.strides[1] = static_cast<uint64_t>(stride) * 2;
  spec.box[0] = static_cast<uint32_t>(box_columns);
  spec.box[1] = static_cast<uint32_t>(box_rows);
  spec.swizzle = Swizzle::k128;
  return MakeTensorMap(spec, map);
}

}  // namespace precis::kernels::PRECIS_GPU_NS

#endif  // PRECIS_KERNELS_CUDA_PLATFORM_TENSOR_MAP_H_
