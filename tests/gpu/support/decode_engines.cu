// The decode attention kernels under test, with tuning variants of flash_decode (warps of a block, blocks that a multiprocessor must have room for, how splits
// are joined).

#include <string>
#include <vector>

#include "kernels/cuda/attention/flash_decode_kernel.h"
#include "kernels/cuda/attention/attention_ops.h"
#include "tests/gpu/support/device_array.h"
#include "tests/gpu/support/engines.h"

namespace precis::gpu_test {
namespace {

namespace cuda = kernels::cuda;
using kernels::GpuAttentionArgs;
using kernels::Stream;

constexpr int kMostCounters = 1 << 15;

// Zeroed once: flash_decode leaves zeros.
uint32_t* Counters() {
  static const DeviceArray<uint32_t>* counters = new DeviceArray<uint32_t>(std::vector<uint32_t>(kMostCounters, 0));
  return counters->get();
}

GpuAttentionArgs WithCounters(GpuAttentionArgs args) {
  args.decode_counters = args.sequences.count * args.cache.heads <= kMostCounters ? Counters() : nullptr;
  return args;
}

void FlashDecode(const GpuAttentionArgs& args, cudaStream_t stream) { cuda::FlashDecode(WithCounters(args), Stream{stream}); }
void FlashDecodeTwoLaunches(const GpuAttentionArgs& args, cudaStream_t stream) { cuda::FlashDecode(args, Stream{stream}); }
// As a decode step runs it; here nothing was written by the kernel before.
void FlashDecodeEarly(GpuAttentionArgs args, cudaStream_t stream) {
  args.only_last_is_new = true;
  FlashDecode(args, stream);
}

void StandardDecode(const GpuAttentionArgs& args, cudaStream_t stream) { cuda::StandardDecode(args, Stream{stream}); }

int64_t StandardBytes(int heads, int head_dim, int sequences, int max_context) {
  return cuda::StandardWorkspaceBytes(heads, head_dim, 1, max_context, sequences, kernels::GpuType::kBf16);
}

template <int kWarps, int kBlocks>
DecodeEngine Variant() {
  DecodeEngine engine;
  engine.name = "flash_decode w" + std::to_string(kWarps) + " b" + std::to_string(kBlocks);
  engine.run = [](const GpuAttentionArgs& args, cudaStream_t stream) {
    if (args.cache.head_dim != 64) return FlashDecode(args, stream);
    cuda::LaunchDecode<kernels::Bf16, 64, cuda::DecodeTuning<kWarps, kBlocks>>(WithCounters(args), Stream{stream});
  };
  engine.workspace_bytes = cuda::DecodeWorkspaceBytes;
  engine.tuned_variant = true;
  return engine;
}

}  // namespace

const std::vector<DecodeEngine>& DecodeEngines() {
  static const std::vector<DecodeEngine>* engines = new std::vector<DecodeEngine>{
      {"flash_decode", FlashDecode, cuda::DecodeWorkspaceBytes},
      {"flash_decode, early loads", FlashDecodeEarly, cuda::DecodeWorkspaceBytes},
      {"flash_decode, two launches", FlashDecodeTwoLaunches, cuda::DecodeWorkspaceBytes},
      {"standard_decode", StandardDecode, StandardBytes},
      Variant<1, 16>(), Variant<1, 20>(), Variant<2, 8>(), Variant<2, 10>(), Variant<4, 3>(), Variant<4, 5>(), Variant<8, 2>(),
  };
  return *engines;
}

}  // namespace precis::gpu_test
