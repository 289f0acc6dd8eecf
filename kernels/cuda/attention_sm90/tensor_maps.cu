#include "kernels/cuda/attention_sm90/tensor_maps.h"

#include "kernels/cuda/attention_sm90/layout.h"
#include "kernels/cuda/platform/tensor_map.h"

namespace precis::kernels::PRECIS_GPU_NS::sm90 {

bool EncodeQueryMap(const GpuAttentionArgs& args, TensorMap* map) {
  return MakeRowsMap(args.qkv, args.qkv_rows, int64_t{args.cache.heads} * kHeadDim, args.qkv_stride, kGroupRows, kHeadDim, map);
}

bool EncodeCacheMap(const GpuKvLayer& cache, TensorMap* map) {
  TensorMapSpec spec;
  spec.base = cache.arena;
  spec.rank = 5;
  const uint64_t dims[5] = {kHeadDim, kPageTokens, static_cast<uint64_t>(cache.heads), static_cast<uint64_t>(cache.parts),
                            static_cast<uint64_t>(cache.pages)};
  const uint64_t strides[5] = {2, kHeadDim * 2, kPageBytes, static_cast<uint64_t>(cache.part_bytes), static_cast<uint64_t>(cache.page_stride)};
  const uint32_t box[5] = {kHeadDim, kPageTokens, 1, 1, 1};
  for (int i = 0; i < spec.rank; ++i) {
    spec.dims[i] = dims[i];
    spec.strides[i] = strides[i];
    spec.box[i] = box[i];
  }
  spec.swizzle = Swizzle::k128;
  return MakeTensorMap(spec, map);
}

}  // namespace precis::kernels::PRECIS_GPU_NS::sm90
