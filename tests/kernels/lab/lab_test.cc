// Every version of the laboratory against float64, on the SIMT device, in several orders of threads.

#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/lab/lab.h"

namespace precis::kernels::simt::lab {
namespace {

constexpr int kHeads = 2, kTokens = 256;

struct Data {
  std::vector<Bf16> q, k, v;
};

Data RandomData(uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal(0, 1);
  Data data;
  for (auto* values : {&data.q, &data.k, &data.v}) {
    for (int i = 0; i < kHeads * kTokens * kHeadDim; ++i) values->push_back(ToBf16(normal(random)));
  }
  return data;
}

// o of one row, in float64.
std::vector<double> Reference(const Data& data, int head, int row) {
  const auto at = [&](const std::vector<Bf16>& x, int token, int d) { return static_cast<double>(ToFloat(x[static_cast<size_t>((head * kTokens + token) * kHeadDim + d)])); };
  std::vector<double> weights, o(kHeadDim);
  double sum = 0;
  for (int j = 0; j <= row; ++j) {
    double score = 0;
    for (int d = 0; d < kHeadDim; ++d) score += at(data.q, row, d) * at(data.k, j, d);
    weights.push_back(std::exp(score / 8));
    sum += weights.back();
  }
  for (int j = 0; j <= row; ++j) {
    for (int d = 0; d < kHeadDim; ++d) o[static_cast<size_t>(d)] += weights[static_cast<size_t>(j)] / sum * at(data.v, j, d);
  }
  return o;
}

class LabTest : public ::testing::TestWithParam<LabVersion> {};

TEST_P(LabTest, IsAttention) {
  for (uint64_t seed : {0, 1, 2}) {
    SCOPED_TRACE(seed);
    const Data data = RandomData(seed + 10);
    std::vector<Bf16> o(data.q.size(), Bf16{0x7fff});
    SetSeed(seed);
    KeepReports(true);
    GetParam().run({data.q.data(), data.k.data(), data.v.data(), o.data(), kHeads, kTokens, 1.44269504f / 8}, Stream());
    ASSERT_EQ(TakeReport(), "");
    double worst = 0;
    for (int head = 0; head < kHeads; ++head) {
      for (int row = 0; row < kTokens; ++row) {
        const std::vector<double> expected = Reference(data, head, row);
        for (int d = 0; d < kHeadDim; ++d) {
          const double error = std::abs(ToFloat(o[static_cast<size_t>((head * kTokens + row) * kHeadDim + d)]) - expected[static_cast<size_t>(d)]);
          ASSERT_TRUE(error < 1) << "head " << head << " row " << row << " column " << d;  // NaN fails too
          worst = std::max(worst, error);
        }
      }
    }
    // The first row is one of v as it is; others round probabilities (2^-9) and the result (2^-9 of values up to 4).
    EXPECT_LT(worst, 0.02);
  }
}

std::string Name(const ::testing::TestParamInfo<LabVersion>& info) {
  std::string name = "v";
  for (const char* c = info.param.name; *c != 0; ++c) name += std::isalnum(static_cast<unsigned char>(*c)) != 0 ? std::string(1, *c) : "_";
  return name;
}
INSTANTIATE_TEST_SUITE_P(Versions, LabTest, ::testing::ValuesIn(kVersions), Name);

}  // namespace
}  // namespace precis::kernels::simt::lab
