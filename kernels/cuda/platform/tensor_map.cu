#include "kernels/cuda/platform/tensor_map.h"

// On the host kernels/simt/tma.cc has it.
#ifndef PRECIS_SIMT

#include <cuda.h>

namespace precis::kernels::cuda {
namespace {

CUtensorMapSwizzle SwizzleOf(Swizzle swizzle) {
  switch (swizzle) {
    case Swizzle::k128: return CU_TENSOR_MAP_SWIZZLE_128B;
    case Swizzle::k64: return CU_TENSOR_MAP_SWIZZLE_64B;
    case Swizzle::k32: return CU_TENSOR_MAP_SWIZZLE_32B;
    case Swizzle::kNone: break;
  }
  return CU_TENSOR_MAP_SWIZZLE_NONE;
}

// The driver's function, found at run time: this library links no driver.
decltype(&cuTensorMapEncodeTiled) Encoder() {
  static const auto encoder = [] {
    void* function = nullptr;
    cudaDriverEntryPointQueryResult result;
    if (cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault, &result) != cudaSuccess) function = nullptr;
    return reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(function);
  }();
  return encoder;
}

}  // namespace

bool MakeTensorMap(const TensorMapSpec& spec, TensorMap* map) {
  const auto encode = Encoder();
  if (encode == nullptr || spec.rank < 1 || spec.rank > 5) return false;
  const cuuint32_t ones[5] = {1, 1, 1, 1, 1};
  cuuint64_t dims[5], strides[4] = {};
  for (int i = 0; i < spec.rank; ++i) dims[i] = spec.dims[i];
  for (int i = 1; i < spec.rank; ++i) strides[i - 1] = spec.strides[i];
  return encode(reinterpret_cast<CUtensorMap*>(map), spec.element_bytes == 2 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 : CU_TENSOR_MAP_DATA_TYPE_FLOAT32,
                static_cast<cuuint32_t>(spec.rank), spec.base, dims, strides, spec.box, ones, CU_TENSOR_MAP_INTERLEAVE_NONE, SwizzleOf(spec.swizzle),
                CU_TENSOR_MAP_L2_PROMOTION_L2_128B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
}

}  // namespace precis::kernels::cuda

#endif
