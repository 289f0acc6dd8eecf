// The prefill attention kernels under test: Hopper's with its tuning variants (compiled here, for sm_90a as the name says), sm_80's, and the materialised one.

#include <memory>
#include <string>
#include <vector>

#include "kernels/cuda/attention_sm90/launch_sm90.h"
#include "kernels/cuda/attention_sm90/flash_sm90.h"  // needs the namespace that the other one's platform names
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

// Grows at a first call, which is never captured.
void* Workspace(int64_t bytes) {
  static std::unique_ptr<DeviceArray<char>> workspace;
  if (workspace == nullptr || static_cast<int64_t>(workspace->size()) < bytes) {
    workspace.reset();
    workspace = std::make_unique<DeviceArray<char>>(static_cast<size_t>(bytes));
    workspace->Poison();
  }
  return workspace->get();
}

// With a workspace, so that ALiBi leaves tiles out of reach out.
void HopperReach(GpuAttentionArgs args, cudaStream_t stream) {
  const kernels::GpuSequences& s = args.sequences;
  args.workspace_bytes =
      cuda::FlashPrefillSm90WorkspaceBytes(args.cache.heads, args.cache.head_dim, s.count, s.max_query, s.max_context, args.alibi_slopes != nullptr);
  args.workspace = args.workspace_bytes > 0 ? Workspace(args.workspace_bytes) : nullptr;
  cuda::FlashPrefillSm90(args, Stream{stream});
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
  const kernels::GpuSequences& s = args.sequences;
  const int64_t bytes =
      cuda::StandardWorkspaceBytes(args.cache.heads, args.cache.head_dim, s.max_query, s.max_context, s.total_queries, kernels::GpuType::kBf16);
  args.workspace = Workspace(bytes);
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
    engines.push_back(Make("flash", HopperReach));
    engines.push_back(Make("flash, every tile", [](const GpuAttentionArgs& a, cudaStream_t s) { Hopper<cuda::sm90::ForwardTuning>(a, true, s); }));
    engines.back().alibi_only = true;
    engines.push_back(Make("flash, no token", [](const GpuAttentionArgs& a, cudaStream_t s) { Hopper<TuningOf<false, true>>(a, true, s); }));
    engines.push_back(Make("flash, whole tiles", [](const GpuAttentionArgs& a, cudaStream_t s) { Hopper<TuningOf<true, false>>(a, true, s); }));
    engines.push_back(Make("flash, fixed order", [](const GpuAttentionArgs& a, cudaStream_t s) { Hopper<cuda::sm90::ForwardTuning>(a, false, s); }));
    for (size_t i = 2; i < engines.size(); ++i) engines[i].tuned_variant = true;
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
