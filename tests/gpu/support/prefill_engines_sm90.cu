// The prefill attention kernels under test: Hopper's with its tuning variants (compiled here, for sm_90a as the name says), sm_80's, and the materialised one.

#include <memory>
#include <string>
#include <vector>

#include "kernels/cuda/attention_sm90/launch_sm90.h"
#include "kernels/cuda/attention/attention_ops.h"  // needs the namespace that the other one's platform names
#include "tests/gpu/support/device_array.h"
#include "tests/gpu/support/engines.h"

namespace precis::gpu_test {
namespace {

namespace cuda = kernels::cuda;
using kernels::GpuAttentionArgs;
using kernels::Stream;

cudaDeviceProp Properties() {
  cudaDeviceProp properties;
  PRECIS_REQUIRE(cudaGetDeviceProperties(&properties, 0));
  return properties;
}

template <class Tuning>
void Hopper(const GpuAttentionArgs& args, bool tickets, cudaStream_t stream) {
  static const int multiprocessors = Properties().multiProcessorCount;
  if (args.alibi_slopes != nullptr) {
    cuda::sm90::LaunchForward<cuda::sm90::AlibiPolicy, Tuning>(args, multiprocessors, tickets, Stream{stream});
  } else {
    cuda::sm90::LaunchForward<cuda::sm90::LearnedPolicy, Tuning>(args, multiprocessors, tickets, Stream{stream});
  }
}

void Ampere(const GpuAttentionArgs& args, cudaStream_t stream) { cuda::FlashPrefillSm80(args, Stream{stream}); }

void Standard(GpuAttentionArgs args, cudaStream_t stream) {
  static std::unique_ptr<DeviceArray<char>> workspace;  // grows at a first call, which is never captured
  const kernels::GpuSequences& s = args.sequences;
  const int64_t bytes =
      cuda::StandardWorkspaceBytes(args.cache.heads, args.cache.head_dim, s.max_query, s.max_context, s.total_queries, kernels::GpuType::kBf16);
  if (workspace == nullptr || static_cast<int64_t>(workspace->size()) < bytes) {
    workspace.reset();
    workspace = std::make_unique<DeviceArray<char>>(static_cast<size_t>(bytes));
  }
  args.workspace = workspace->get();
  args.workspace_bytes = bytes;
  cuda::StandardPrefill(args, Stream{stream});
}

AttentionEngine Make(const std::string& name, std::function<void(const GpuAttentionArgs&, cudaStream_t)> run) {
  AttentionEngine engine;
  engine.name = name;
  engine.run = std::move(run);
  return engine;
}

std::vector<AttentionEngine> MakeEngines() {
  std::vector<AttentionEngine> engines;
  if (Properties().major == 9) {
    using cuda::sm90::TuningOf;
    engines.push_back(Make("flash", [](const GpuAttentionArgs& a, cudaStream_t s) { Hopper<cuda::sm90::ForwardTuning>(a, true, s); }));
    engines.push_back(Make("flash, no token", [](const GpuAttentionArgs& a, cudaStream_t s) { Hopper<TuningOf<false, true>>(a, true, s); }));
    engines.push_back(Make("flash, whole tiles", [](const GpuAttentionArgs& a, cudaStream_t s) { Hopper<TuningOf<true, false>>(a, true, s); }));
    engines.push_back(Make("flash, fixed order", [](const GpuAttentionArgs& a, cudaStream_t s) { Hopper<cuda::sm90::ForwardTuning>(a, false, s); }));
    for (size_t i = 1; i < engines.size(); ++i) engines[i].tuned_variant = true;
  }
  engines.push_back(Make("flash sm_80", Ampere));
  engines.back().any_head_dim = true;
  engines.push_back(Make("standard", Standard));
  engines.back().any_head_dim = true;
  engines.back().materialised = true;
  engines.back().log_sum_exp = false;
  return engines;
}

}  // namespace

const std::vector<AttentionEngine>& AttentionEngines() {
  static const std::vector<AttentionEngine> engines = MakeEngines();
  return engines;
}

}  // namespace precis::gpu_test
