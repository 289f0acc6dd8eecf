// flash_decode: see flash_decode_kernel.h.

#include "kernels/cuda/attention/flash_decode_kernel.h"
#include "kernels/cuda/attention/attention_ops.h"

namespace precis::kernels::PRECIS_GPU_NS {
namespace {

// Head sizes over 64 (f32: over 32) need more registers: a key takes 16 or 32 lanes, so a step takes as many loads.
template <class T, int kHeadDim>
using Tuned = DecodeTuning<4, DecodeShape<T, kHeadDim>::kLanes <= 8 ? 4 : 2>;

template <class T>
void Run(const GpuAttentionArgs& args, Stream stream) {
  DispatchHeadDim(args.cache.head_dim, [&](auto dim) { LaunchDecode<T, decltype(dim)::value, Tuned<T, decltype(dim)::value>>(args, stream); });
}

}  // namespace

void FlashDecode(const GpuAttentionArgs& args, Stream stream) {
  if (args.sequences.count == 0 || args.sequences.max_context == 0) return;
  if (args.cache.type == GpuType::kF32) return Run<float>(args, stream);
  Run<Bf16>(args, stream);
}

int64_t DecodeWorkspaceBytes(int heads, int head_dim, int sequences, int max_context) {
  const int splits = CeilDiv(max_context, kDecodeSplit);
  return splits <= 1 ? 0 : static_cast<int64_t>(sequences) * heads * splits * PartialFloats(head_dim) * static_cast<int64_t>(sizeof(float));
}

}  // namespace precis::kernels::PRECIS_GPU_NS
