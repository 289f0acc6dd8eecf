// Products, row operations and sampling on the device: against float64 on the host, and bit for bit against themselves in other company. Shapes are the model's.

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>

#include "tests/gpu/check.h"
#include "tests/gpu/support/gpu_model.h"

namespace precis::gpu_test {
namespace {

using kernels::GemmMode;
using kernels::GpuActivation;
using kernels::GpuType;

float FromBf16(uint16_t half) {
  const uint32_t bits = uint32_t{half} << 16;
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

struct Product {
  int m, n, k;
  GemmMode mode = GemmMode::kInvariant;
  bool int8 = false;
  bool accumulate = false;
  GpuActivation activation = GpuActivation::kNone;
};

struct ProductData {
  explicit ProductData(const Product& p) : x(RandomBf16(static_cast<size_t>(p.m) * p.k, 5, 1)), w(RandomBf16(static_cast<size_t>(p.n) * p.k, 6, 0.05f)) {
    for (size_t i = 0; i < static_cast<size_t>(p.n) * p.k && p.int8; ++i) w8.push_back(static_cast<int8_t>(static_cast<int>(i * 2654435761u >> 24) - 128));
    for (int8_t& v : w8) v = std::max<int8_t>(v, -127);
  }
  std::vector<uint16_t> x, w;
  std::vector<int8_t> w8;
  double Weight(const Product& p, size_t at) const { return p.int8 ? w8[at] : FromBf16(w[at]); }
};

std::vector<float> Run(const Product& p, const ProductData& data, int first, int rows, const std::vector<float>& bias, const std::vector<float>& scale) {
  const DeviceArray<uint16_t> x(std::vector<uint16_t>(data.x.begin() + static_cast<int64_t>(first) * p.k, data.x.begin() + static_cast<int64_t>(first + rows) * p.k));
  const DeviceArray<uint16_t> w(data.w);
  const DeviceArray<int8_t> w8(data.w8);
  const DeviceArray<float> bias_on_device(bias), scale_on_device(scale), y(std::vector<float>(static_cast<size_t>(rows) * p.n, p.accumulate ? 1.0f : NAN));
  const int64_t bytes = std::max<int64_t>(CudaOps().gemm_workspace_bytes(rows, p.n, p.k, p.mode), 256);
  const DeviceArray<char> workspace(static_cast<size_t>(bytes));
  CudaOps().gemm({.x = x.get(), .x_stride = p.k, .w = p.int8 ? static_cast<const void*>(w8.get()) : w.get(), .w_scale = scale_on_device.get(),
                  .bias = bias_on_device.get(), .y = y.get(), .y_stride = p.n, .m = rows, .n = p.n, .k = p.k, .x_type = GpuType::kBf16,
                  .w_type = p.int8 ? GpuType::kI8 : GpuType::kBf16, .y_type = GpuType::kF32, .activation = p.activation, .accumulate = p.accumulate, .mode = p.mode,
                  .workspace = workspace.get(), .workspace_bytes = bytes}, {nullptr});
  PRECIS_REQUIRE(kernels::cuda::TakeLaunchError());
  PRECIS_REQUIRE(cudaDeviceSynchronize());
  return y.Get();
}

double Expected(const Product& p, const ProductData& data, int m, int n, const std::vector<float>& bias, const std::vector<float>& scale, double* size) {
  double sum = 0;
  *size = 1;
  for (int k = 0; k < p.k; ++k) {
    const double product = FromBf16(data.x[static_cast<size_t>(m) * p.k + k]) * data.Weight(p, static_cast<size_t>(n) * p.k + k) * (p.int8 ? scale[n] : 1.0);
    sum += product;
    *size += std::abs(product);
  }
  sum += bias[n];
  if (p.activation == GpuActivation::kGeluTanh) sum = 0.5 * sum * (1 + std::tanh(std::sqrt(2 / M_PI) * (sum + 0.044715 * sum * sum * sum)));
  return sum + (p.accumulate ? 1 : 0);
}

// All rows once; then samples against float64; then, where promised, parts of the rows bit for bit against all of them.
Outcome CheckProduct(const Product& p) {
  const ProductData data(p);
  const std::vector<float> bias = RandomF32(p.n, 7, 1), scale = RandomF32(p.n, 8, 0.01f);
  const std::vector<float> y = Run(p, data, 0, p.m, bias, scale);
  double worst = 0;
  for (int i = 0; i < 4000; ++i) {
    const int m = static_cast<int>(i * 7919u % static_cast<unsigned>(p.m)), n = static_cast<int>(i * 104729u % static_cast<unsigned>(p.n));
    double size = 0;
    const double want = Expected(p, data, m, n, bias, scale, &size), error = std::abs(y[static_cast<size_t>(m) * p.n + n] - want) / size;
    worst = error <= worst ? worst : error;  // NaN stays
    if (std::isnan(error)) worst = INFINITY;
  }
  size_t different = 0;
  if (p.mode == GemmMode::kInvariant) {
    for (int rows : {1, 7, 16, 17, 48, 100}) {
      if (rows > p.m) continue;
      const int first = p.m - rows;
      const std::vector<float> part = Run(p, data, first, rows, bias, scale);
      for (size_t i = 0; i < part.size(); ++i) different += std::memcmp(&part[i], &y[static_cast<size_t>(first) * p.n + i], 4) != 0;
    }
  }
  char text[160];
  std::snprintf(text, sizeof(text), "error %.2g of the sum of sizes (allowed 2e-6), %zu elements depend on the batch", worst, different);
  return {worst <= 2e-6 && different == 0, false, text};
}

Outcome CheckDecodeStep() {
  const DecodeModel model(8, 100, GemmMode::kInvariant);
  cudaStream_t stream;
  PRECIS_REQUIRE(cudaStreamCreate(&stream));
  for (int i = 0; i < 3; ++i) model.Step(stream);
  PRECIS_REQUIRE(kernels::cuda::TakeLaunchError());
  PRECIS_REQUIRE(cudaStreamSynchronize(stream));
  PRECIS_REQUIRE(cudaStreamDestroy(stream));
  return {true, false, "three steps of 8 sequences ran without an error of the device"};
}

Outcome CheckArgMax() {
  const int rows = 64, vocab = 50257;
  std::vector<float> host = RandomF32(static_cast<size_t>(rows) * vocab, 9, 1);
  for (int r = 0; r < rows; ++r) host[static_cast<size_t>(r) * vocab + r * 700] = NAN;
  const DeviceArray<float> logits(host);
  const DeviceArray<int32_t> tokens(std::vector<int32_t>(rows, -1));
  CudaOps().sample({.logits = logits.get(), .stride = vocab, .vocab = vocab, .rows = rows, .rows_options = nullptr, .edits = nullptr, .tokens = tokens.get(),
                    .workspace = nullptr, .workspace_bytes = 0}, {nullptr});
  PRECIS_REQUIRE(cudaDeviceSynchronize());
  const std::vector<int32_t> got = tokens.Get();
  int wrong = 0;
  for (int r = 0; r < rows; ++r) {
    int best = 0;
    float value = -INFINITY;
    for (int i = 0; i < vocab; ++i) {
      const float v = host[static_cast<size_t>(r) * vocab + i];
      if (v > value) value = v, best = i;
    }
    wrong += got[r] != best;
  }
  return {wrong == 0, false, std::to_string(wrong) + " of 64 rows wrong"};
}

}  // namespace

void AddOpsChecks(Checks& checks) {
  const auto add = [&](const std::string& name, const Product& p) { checks.push_back({"products/" + name, [p] { return CheckProduct(p); }}); };
  add("qkv 1025 rows", {.m = 1025, .n = 2304, .k = 768});
  add("up 200 rows gelu", {.m = 200, .n = 3072, .k = 768, .activation = GpuActivation::kGeluTanh});
  add("down 129 rows accumulate", {.m = 129, .n = 768, .k = 3072, .accumulate = true});
  add("head 65 rows", {.m = 65, .n = 50257, .k = 768});
  add("width 1600, 1000 rows", {.m = 1000, .n = 1600, .k = 1600});
  add("int8 down 300 rows", {.m = 300, .n = 768, .k = 3072, .int8 = true});
  add("int8 head 20 rows", {.m = 20, .n = 50257, .k = 768, .int8 = true});
  add("fast qkv 1025 rows", {.m = 1025, .n = 2304, .k = 768, .mode = GemmMode::kFast});
  add("fast down accumulate 129 rows", {.m = 129, .n = 768, .k = 3072, .mode = GemmMode::kFast, .accumulate = true});
  checks.push_back({"sampling/arg-max 64 rows", CheckArgMax});
  checks.push_back({"decode step/runs", CheckDecodeStep});
}

}  // namespace precis::gpu_test
