// Products at the shapes of GPT-2 124M, the row operations, and a whole decode step in a CUDA graph.

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "tests/gpu/bench.h"
#include "tests/gpu/support/gpu_model.h"

namespace precis::gpu_test {
namespace {

using kernels::GemmMode;
using kernels::GpuActivation;
using kernels::GpuType;

struct ProductShape {
  const char* name;
  int n, k;
  GpuType y;
  GpuActivation activation = GpuActivation::kNone;
  bool bias = true, accumulate = false;
};
// As gpu_forward.cc has them.
constexpr ProductShape kProducts[] = {{"qkv", 2304, 768, GpuType::kBf16},
                                      {"projection", 768, 768, GpuType::kF32, GpuActivation::kNone, true, true},
                                      {"up", 3072, 768, GpuType::kBf16, GpuActivation::kGeluTanh},
                                      {"down", 768, 3072, GpuType::kF32, GpuActivation::kNone, true, true},
                                      {"head", 50257, 768, GpuType::kF32, GpuActivation::kNone, false}};

void BenchProduct(const ProductShape& s, int m, GemmMode mode, const BenchOptions& options, std::vector<Record>& records) {
  const size_t weights = static_cast<size_t>(s.n) * s.k;
  const int copies = static_cast<int>(std::min<size_t>(48, std::max<size_t>(1, (size_t{128} << 20) / (weights * 2))));  // read from memory, not from L2
  const DeviceArray<uint16_t> w(RandomBf16(weights * copies, 1, 0.02f)), x(RandomBf16(static_cast<size_t>(m) * s.k, 2, 1));
  const DeviceArray<float> bias(RandomF32(s.n, 3, 1)), y(RandomF32(static_cast<size_t>(m) * s.n, 4, 1));
  const DeviceArray<uint16_t> bias_bf16(RandomBf16(s.n, 3, 1));
  const int64_t bytes = std::max<int64_t>(CudaOps().gemm_workspace_bytes(m, s.n, s.k, mode), 256);
  const DeviceArray<char> workspace(static_cast<size_t>(bytes));
  const auto enqueue = [&](cudaStream_t stream, int i) {
    CudaOps().gemm({.x = x.get(), .x_stride = s.k, .w = w.get() + weights * (i % copies), .w_scale = nullptr, .bias = s.bias ? bias.get() : nullptr, .y = y.get(), .y_stride = s.n,
                    .m = m, .n = s.n, .k = s.k, .x_type = GpuType::kBf16, .w_type = GpuType::kBf16, .y_type = s.y, .activation = s.activation,
                    .accumulate = s.accumulate, .mode = mode, .workspace = workspace.get(), .workspace_bytes = bytes, .bias_bf16 = s.bias ? bias_bf16.get() : nullptr}, {stream});
  };
  const Timing time = TimeCalls(enqueue, std::max(copies, 4), options.quick ? 7 : 15);
  const std::string row = std::string(s.name) + (mode == GemmMode::kFast ? " fast" : " invariant"), column = std::to_string(m);
  const char* note = mode == GemmMode::kFast ? "fast" : "batch-invariant";
  if (m <= 64) records.push_back({"products, weights read", row, column, "TB/s", 2.0 * static_cast<double>(weights) / time.median_us * 1e-6, time, note});
  if (m <= 64) records.push_back({"products, time", row, column, "us", time.median_us, time, note});
  if (m > 64) records.push_back({"products", row, column, "TFLOP/s", 2.0 * m * static_cast<double>(weights) / time.median_us * 1e-6, time, note});
}

}  // namespace

void BenchProducts(const BenchOptions& options, std::vector<Record>& records) {
  for (const ProductShape& shape : kProducts) {
    for (const int m : {1, 8, 64, 256, 1024, 8192}) {
      if (shape.n > 10000 && m > 256) continue;
      for (const GemmMode mode : {GemmMode::kInvariant, GemmMode::kFast}) BenchProduct(shape, m, mode, options, records);
    }
  }
}

void BenchDecodeStep(const BenchOptions& options, std::vector<Record>& records) {
  for (const int sequences : {1, 8, 64, 256}) {
    for (const GemmMode mode : {GemmMode::kInvariant, GemmMode::kFast}) {
      const DecodeModel model(sequences, 932, mode);
      const Timing time = TimeCalls([&](cudaStream_t stream, int) { model.Step(stream); }, 1, options.quick ? 15 : 51);
      const std::string row = mode == GemmMode::kFast ? "precis flash, fast" : "precis flash, batch-invariant";
      records.push_back({"decode step of GPT-2 124M, 932 tokens of context", row, std::to_string(sequences), "us", time.median_us, time, "in a graph"});
      for (const auto& [name, part] : {std::pair("products", DecodeModel::kProducts), std::pair("cache write", DecodeModel::kWriteKv),
                                       std::pair("attention", DecodeModel::kAttention), std::pair("head and arg-max", DecodeModel::kHead)}) {
        if (mode != GemmMode::kInvariant) continue;
        const Timing alone = TimeCalls([&](cudaStream_t stream, int) { model.Step(stream, part); }, 1, options.quick ? 9 : 25);
        records.push_back({"decode step, parts alone (with the embedding)", name, std::to_string(sequences), "us", alone.median_us, alone, "in a graph"});
      }
      records.push_back({"decode step, weights and cache read", row, std::to_string(sequences), "TB/s",
                         (model.WeightBytes() + model.CacheBytes()) / time.median_us * 1e-6, time, "in a graph"});
    }
  }
}

}  // namespace precis::gpu_test
