#include "kernels/cuda/attention_sm90/flash_sm90.h"

#include "kernels/cuda/attention_sm90/launch_sm90.h"
#include "kernels/cuda/platform/multiprocessors.h"

namespace precis::kernels::PRECIS_GPU_NS {
namespace {

template <class Policy>
void Forward(const GpuAttentionArgs& args, Stream stream) {
  sm90::LaunchForward<Policy, sm90::ForwardTuning>(args, Multiprocessors(3), true, stream);
}

}  // namespace

bool FlashPrefillSm90Takes(const GpuAttentionArgs& args) {
  constexpr int kShared = 227 << 10;  // of a block
  if (args.alibi_slopes != nullptr && sm90::BiasBytes(args.cache.heads) > kShared - static_cast<int>(sizeof(sm90::SharedBlock))) return false;
  return args.cache.type == GpuType::kBf16 && args.cache.head_dim == sm90::kHeadDim && args.qkv_stride % 8 == 0 && args.output_stride % 8 == 0;
}

int64_t FlashPrefillSm90WorkspaceBytes(int heads, int head_dim, int sequences, int max_query, int max_context, bool alibi) {
  return alibi && head_dim == sm90::kHeadDim ? sm90::ReachBytes(heads, sequences, max_query, max_context) : 0;
}

void FlashPrefillSm90(const GpuAttentionArgs& args, Stream stream) {
  args.alibi_slopes != nullptr ? Forward<sm90::AlibiPolicy>(args, stream) : Forward<sm90::LearnedPolicy>(args, stream);
}

}  // namespace precis::kernels::PRECIS_GPU_NS
