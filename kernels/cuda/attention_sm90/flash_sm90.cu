#include "kernels/cuda/attention_sm90/flash_sm90.h"

#include "kernels/cuda/attention_sm90/launch_sm90.h"

namespace precis::kernels::PRECIS_GPU_NS {

bool FlashPrefillSm90Takes(const GpuAttentionArgs& args) {
  return args.cache.type == GpuType::kBf16 && args.cache.head_dim == sm90::kHeadDim && args.qkv_stride % 8 == 0 && args.output_stride % 8 == 0;
}

void FlashPrefillSm90(const GpuAttentionArgs& args, Stream stream) {
  if (args.alibi_slopes != nullptr) {
    sm90::LaunchForward<sm90::AlibiPolicy, sm90::BestTuning>(args, stream);
  } else {
    sm90::LaunchForward<sm90::LearnedPolicy, sm90::BestTuning>(args, stream);
  }
}

}  // namespace precis::kernels::PRECIS_GPU_NS
