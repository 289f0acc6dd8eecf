// The laboratory's versions on the device against float64.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>

#include "tests/gpu/check.h"
#include "tests/gpu/support/device_array.h"
#include "tests/gpu/support/gpu_model.h"
#include "tests/gpu/support/lab_versions.h"

namespace precis::gpu_test {
namespace {

constexpr int kHeads = 4, kTokens = 1024, kDim = 64;
constexpr double kAllowed = 0.02;  // probabilities and result round to bf16

float FloatOf(uint16_t half) {
  const uint32_t bits = uint32_t{half} << 16;
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

struct Data {
  std::vector<uint16_t> q = RandomBf16(size_t{kHeads} * kTokens * kDim, 11, 1), k = RandomBf16(size_t{kHeads} * kTokens * kDim, 12, 1),
                        v = RandomBf16(size_t{kHeads} * kTokens * kDim, 13, 1);
};

double ErrorOfRow(const Data& data, const std::vector<uint16_t>& o, int head, int row) {
  const auto at = [&](const std::vector<uint16_t>& x, int token, int d) { return static_cast<double>(FloatOf(x[static_cast<size_t>((head * kTokens + token) * kDim + d)])); };
  std::vector<double> weights;
  double sum = 0, expected[kDim] = {}, worst = 0;
  for (int j = 0; j <= row; ++j) {
    double score = 0;
    for (int d = 0; d < kDim; ++d) score += at(data.q, row, d) * at(data.k, j, d);
    weights.push_back(std::exp(score / 8));
    sum += weights.back();
  }
  for (int j = 0; j <= row; ++j) {
    for (int d = 0; d < kDim; ++d) expected[d] += weights[static_cast<size_t>(j)] / sum * at(data.v, j, d);
  }
  for (int d = 0; d < kDim; ++d) {
    const double error = std::abs(at(o, row, d) - expected[d]);
    worst = error >= 0 ? std::max(worst, error) : INFINITY;  // NaN
  }
  return worst;
}

Outcome CheckVersion(const LabKernel& version) {
  const Data data;
  const DeviceArray<uint16_t> q(data.q), k(data.k), v(data.v), o(data.q.size());
  o.Poison();
  version.run(q.get(), k.get(), v.get(), o.get(), kHeads, kTokens, nullptr);
  PRECIS_REQUIRE(cudaDeviceSynchronize());
  const std::vector<uint16_t> result = o.Get();
  double worst = 0;
  for (int head = 0; head < kHeads; ++head) {
    for (int row = 0; row < kTokens; row += 7) worst = std::max(worst, ErrorOfRow(data, result, head, row));
  }
  char text[80];
  std::snprintf(text, sizeof(text), "worst error %.4f, allowed %.4f", worst, kAllowed);
  return {.passed = worst <= kAllowed, .text = text};
}

}  // namespace

void AddLabChecks(Checks& checks) {
  cudaDeviceProp gpu = {};
  if (cudaGetDeviceProperties(&gpu, 0) != cudaSuccess) return;
  for (const LabKernel& version : LabKernels()) {
    if (version.compute_major == 9 ? gpu.major != 9 : gpu.major < 8) continue;
    checks.push_back({"laboratory/" + version.name, [version] { return CheckVersion(version); }});
  }
}

}  // namespace precis::gpu_test
