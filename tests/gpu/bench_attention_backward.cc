// Forward and backward pass of causal attention: 16384 tokens in sequences of one length, 12 heads of 64, bf16. The backward pass counts 2.5 times the
// operations of the forward pass, as the FlashAttention papers do.

#include <string>

#include "kernels/gpu/train_ops.h"
#include "tests/gpu/bench.h"
#include "tests/gpu/support/attention_case.h"
#include "tests/gpu/support/gpu_model.h"

namespace precis::gpu_test {
namespace {

constexpr int kTokens = 16384;

// One case's memory for the backward pass.
class Backward {
 public:
  Backward(const AttentionCase& attention, int length, int compute_major, bool deterministic)
      : ops_(CudaTrainOps(compute_major)), forward_(attention.Args()), d_output_(RandomBf16(static_cast<size_t>(kTokens) * attention.width(), 9, 1)),
        d_qkv_(static_cast<size_t>(kTokens) * 3 * attention.width()), length_(std::vector<int32_t>(static_cast<size_t>(kTokens / length), length)),
        workspace_(static_cast<size_t>(ops_.flash_backward_workspace_bytes(kTokens, 12, 64, deterministic))) {
    std::vector<int32_t> begin;
    for (int row = 0; row < kTokens; row += length) begin.push_back(row);
    begin_ = DeviceArray<int32_t>(begin);
    args_ = {.qkv = forward_.qkv, .qkv_stride = forward_.qkv_stride, .output = forward_.output, .d_output = d_output_.get(),
             .output_stride = forward_.output_stride, .log_sum_exp = forward_.log_sum_exp, .lse_stride = forward_.qkv_rows, .d_qkv = d_qkv_.get(),
             .begin = begin_.get(), .length = length_.get(), .sequences = kTokens / length, .max_length = length, .rows = kTokens, .heads = 12, .head_dim = 64,
             .scale = forward_.scale, .alibi_slopes = forward_.alibi_slopes, .type = kernels::GpuType::kBf16, .deterministic = deterministic,
             .workspace = workspace_.get()};
  }

  void RunForward(cudaStream_t stream) const { CudaOps().flash_prefill(forward_, {stream}); }
  void Run(cudaStream_t stream) const { ops_.flash_backward(args_, {stream}); }

 private:
  const kernels::GpuTrainOps& ops_;
  const kernels::GpuAttentionArgs forward_;
  DeviceArray<uint16_t> d_output_, d_qkv_;
  DeviceArray<int32_t> begin_, length_;
  DeviceArray<char> workspace_;
  kernels::FlashBackwardArgs args_;
};

void Add(const char* table, const std::string& row, int length, double flops, const Timing& time, bool deterministic, std::vector<Record>& records) {
  records.push_back({table, row, std::to_string(length), "TFLOP/s", flops / time.median_us * 1e-6, time, deterministic ? "deterministic" : "dQ by atomic additions"});
}

// compute_major 0: the device's own engine.
void Time(const AttentionCase& attention, int length, int compute_major, bool deterministic, const BenchOptions& options, std::vector<Record>& records) {
  const Backward backward(attention, length, compute_major, deterministic);
  backward.RunForward(nullptr);
  PRECIS_REQUIRE(cudaDeviceSynchronize());
  const int repeats = options.quick ? 7 : 15;
  const std::string row = std::string("precis flash") + (compute_major == 8 ? " sm_80" : "") + (deterministic ? ", deterministic" : "") + (attention.shape().alibi ? " alibi" : "");
  const Timing alone = TimeCalls([&](cudaStream_t stream, int) { backward.Run(stream); }, 4, repeats);
  Add("attention backward", row, length, 2.5 * attention.Flops(), alone, deterministic, records);
  const Timing both = TimeCalls([&](cudaStream_t stream, int) { backward.RunForward(stream), backward.Run(stream); }, 4, repeats);
  Add("attention forward + backward", row, length, 3.5 * attention.Flops(), both, deterministic, records);
}

}  // namespace

void BenchAttentionBackward(const BenchOptions& options, std::vector<Record>& records) {
  for (const bool alibi : {false, true}) {
    for (const int length : {1024, 4096, 16384}) {
      AttentionShape shape;
      shape.queries = shape.contexts = std::vector<int>(kTokens / length, length);
      shape.alibi = alibi;
      const AttentionCase attention(shape);
      Time(attention, length, 0, true, options, records);
      for (const bool deterministic : {false, true}) Time(attention, length, 8, deterministic, options, records);
    }
  }
}

}  // namespace precis::gpu_test
