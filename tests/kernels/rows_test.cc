#include <cmath>
#include <cstring>
#include <random>

#include "gtest/gtest.h"
#include "kernels/ops.h"
#include "tests/kernels/isas.h"
#include "tests/oracle/oracle.h"

namespace precis::kernels {
namespace {

class RowsTest : public testing::TestWithParam<CpuIsa> {};

std::vector<float> Random(size_t count, uint64_t seed, float mean = 0) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal(mean, 1);
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

TEST_P(RowsTest, LayerNormMatchesTheOracle) {
  ThreadPool pool(2);
  for (int64_t size : {1, 2, 7, 8, 15, 16, 17, 31, 64, 100, 768, 1600}) {
    const int64_t rows = 37;
    const std::vector<float> x = Random(rows * size, size, 3), gain = Random(size, 1), bias = Random(size, 2);
    std::vector<float> y(rows * size + 1, NAN);
    LayerNorm(x.data(), gain.data(), bias.data(), 1e-5f, rows, size, y.data(), GetParam(), pool);
    const auto reference = oracle::LayerNorm({x.begin(), x.end()}, {gain.begin(), gain.end()},
                                             {bias.begin(), bias.end()}, 1e-5, rows, size);
    for (int64_t i = 0; i < rows * size; ++i) ASSERT_NEAR(y[i], reference[i], 1e-5) << size << " " << i;
    EXPECT_TRUE(std::isnan(y[rows * size]));
    // A row has the same bits alone.
    std::vector<float> alone(size);
    LayerNorm(x.data() + 20 * size, gain.data(), bias.data(), 1e-5f, 1, size, alone.data(), GetParam(), pool);
    EXPECT_EQ(std::memcmp(alone.data(), y.data() + 20 * size, size * sizeof(float)), 0);
  }
}

TEST_P(RowsTest, ArgMaxIsTheFirstOfTheLargest) {
  for (int64_t size : {1, 2, 5, 31, 32, 33, 100, 50257}) {
    std::vector<float> values = Random(size, size);
    EXPECT_EQ(ArgMax(values, GetParam()), std::max_element(values.begin(), values.end()) - values.begin());
    const int64_t first = size / 3, second = size - 1;
    values[first] = values[second] = 100;
    EXPECT_EQ(ArgMax(values, GetParam()), first);
  }
}

TEST_P(RowsTest, ArgMaxNeverChoosesNan) {
  for (int64_t size : {3, 40, 100}) {
    for (int64_t best = 0; best < size; ++best) {
      std::vector<float> values(size, NAN);
      values[best] = -5;
      ASSERT_EQ(ArgMax(values, GetParam()), best) << size;
      values[best] = -INFINITY;
      ASSERT_EQ(ArgMax(values, GetParam()), best) << size;
    }
    EXPECT_EQ(ArgMax(std::vector<float>(size, NAN), GetParam()), 0);
    EXPECT_EQ(ArgMax(std::vector<float>(size, -INFINITY), GetParam()), 0);
  }
  std::vector<float> mixed = Random(200, 9);
  for (size_t i = 0; i < mixed.size(); i += 3) mixed[i] = NAN;
  mixed[100] = 50;
  EXPECT_EQ(ArgMax(mixed, GetParam()), 100);
}

INSTANTIATE_TEST_SUITE_P(Isa, RowsTest, testing::ValuesIn(TestedIsas()),
                         [](const auto& info) { return std::string(CpuIsaName(info.param)); });

}  // namespace
}  // namespace precis::kernels
