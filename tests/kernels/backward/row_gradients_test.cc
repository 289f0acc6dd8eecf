// The row operations of training, run by the SIMT device in f32 (and bf16 where the type changes the code), against f64.

#include <cmath>
#include <random>
#include <set>
#include <vector>

#include "gtest/gtest.h"
#define PRECIS_GPU_NS simt
#include "kernels/backward/train_list.h"
#include "tests/kernels/backward/bf16_bits.h"
#include "tests/oracle/backward.h"
#include "tests/oracle/oracle.h"

namespace precis::kernels {
namespace {

std::vector<float> Random(size_t count, uint32_t seed, float scale = 1) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, scale);
  std::vector<float> values(count);
  for (float& x : values) x = normal(random);
  return values;
}
std::vector<double> Widen(const std::vector<float>& values) { return {values.begin(), values.end()}; }

void ExpectNear(const std::vector<float>& got, const std::vector<double>& want, double tolerance) {
  ASSERT_EQ(got.size(), want.size());
  double largest = 1e-30;
  for (double x : want) largest = std::max(largest, std::abs(x));
  for (size_t i = 0; i < got.size(); ++i) ASSERT_NEAR(got[i], want[i], tolerance * largest) << i;
}

class CrossEntropyTest : public testing::TestWithParam<int> {};

TEST_P(CrossEntropyTest, LossAndGradient) {
  const int rows = 4, vocab = GetParam(), stride = (vocab + 7) / 8 * 8;
  std::vector<float> logits = Random(size_t(rows) * stride, 1, 4);
  logits[stride + vocab / 2] = 80;  // a row that is certain
  const std::vector<float> before = logits;
  const std::vector<int32_t> targets = {0, vocab / 2, -1, vocab - 1};
  const std::vector<float> weights = {1, 2, 1, 0.5f};
  std::vector<float> loss(rows, NAN);
  simt::CrossEntropy({.logits = logits.data(), .stride = stride, .targets = targets.data(), .weights = weights.data(), .loss = loss.data(),
                      .gradient_scale = 0.25f, .type = GpuType::kF32, .rows = rows, .vocab = vocab},
                     Stream{});
  for (int r = 0; r < rows; ++r) {
    const float* row = &before[size_t(r) * stride];
    double max = -1e300, sum = 0;
    for (int j = 0; j < vocab; ++j) max = std::max<double>(max, row[j]);
    for (int j = 0; j < vocab; ++j) sum += std::exp(row[j] - max);
    const bool used = targets[r] >= 0;
    EXPECT_NEAR(loss[r], used ? weights[r] * (max + std::log(sum) - row[targets[r]]) : 0, 2e-5) << r;
    for (int j = 0; j < vocab; ++j) {
      const double want = used ? 0.25 * weights[r] * (std::exp(row[j] - max) / sum - (j == targets[r])) : 0;
      ASSERT_NEAR(logits[size_t(r) * stride + j], want, 2e-6) << r << " " << j;
    }
    for (int j = vocab; j < stride; ++j) EXPECT_EQ(logits[size_t(r) * stride + j], row[j]) << "padding is left alone";
  }
}
INSTANTIATE_TEST_SUITE_P(Vocabularies, CrossEntropyTest, testing::Values(1, 7, 256, 1025, 2500));

TEST(CrossEntropyBf16, GradientIsRoundedOnce) {
  const int vocab = 300, stride = 304;
  const std::vector<float> values = Random(stride, 2, 3);
  std::vector<uint16_t> logits(stride);
  for (int i = 0; i < stride; ++i) logits[i] = ToBits(values[i]);
  const std::vector<uint16_t> before = logits;
  const int32_t target = 17;
  float loss = NAN;
  simt::CrossEntropy({.logits = logits.data(), .stride = stride, .targets = &target, .loss = &loss, .gradient_scale = 1, .type = GpuType::kBf16,
                      .rows = 1, .vocab = vocab},
                     Stream{});
  double sum = 0;
  for (int j = 0; j < vocab; ++j) sum += std::exp(double{FromBits(before[j])});
  EXPECT_NEAR(loss, std::log(sum) - FromBits(before[target]), 1e-5);
  for (int j = 0; j < vocab; ++j) {
    const double want = std::exp(double{FromBits(before[j])}) / sum - (j == target);
    EXPECT_NEAR(FromBits(logits[j]), want, std::abs(want) / 256 + 1e-7) << j;
  }
}

class LayerNormBackwardTest : public testing::TestWithParam<std::pair<int, int>> {};

TEST_P(LayerNormBackwardTest, AddsTheGradients) {
  const auto [rows, width] = GetParam();
  const size_t size = size_t(rows) * width;
  const auto x = Random(size, 1, 3), dy = Random(size, 2), gain = Random(width, 3), before = Random(size, 4);
  std::vector<float> dx = before, gain_gradient(width, 1), bias_gradient(width, 2);
  std::vector<char> workspace(simt::LayerNormBackwardWorkspaceBytes(rows, width), '\xff');
  simt::LayerNormBackward({.x = x.data(), .dy = dy.data(), .gain = gain.data(), .dx = dx.data(), .gain_gradient = gain_gradient.data(),
                           .bias_gradient = bias_gradient.data(), .workspace = workspace.data(), .type = GpuType::kF32, .epsilon = 1e-5f,
                           .rows = rows, .width = width},
                          Stream{});
  auto want = oracle::LayerNormBackward(Widen(x), Widen(dy), Widen(gain), 1e-5, rows, width);
  for (size_t i = 0; i < size; ++i) want.dx[i] += before[i];
  for (double& value : want.gain) value += 1;
  for (double& value : want.bias) value += 2;
  ExpectNear(dx, want.dx, 2e-6);
  ExpectNear(gain_gradient, want.gain, 2e-6);
  ExpectNear(bias_gradient, want.bias, 2e-6);
}
INSTANTIATE_TEST_SUITE_P(Shapes, LayerNormBackwardTest,
                         testing::Values(std::pair(1, 8), std::pair(5, 768), std::pair(300, 20), std::pair(3, 257)));

TEST(ActivationBackward, IsTheSlope) {
  const std::pair<GpuActivation, double (*)(double)> cases[] = {{GpuActivation::kGeluTanh, oracle::GeluTanh},
                                                                {GpuActivation::kGeluErf, oracle::GeluErf},
                                                                {GpuActivation::kSilu, oracle::Silu},
                                                                {GpuActivation::kQuickGelu, oracle::QuickGelu}};
  const auto x = Random(1030, 1, 2), dy = Random(1030, 2);  // a tail after the vectors
  for (const auto& [activation, function] : cases) {
    std::vector<float> dx(x.size(), NAN);
    simt::ActivationBackward({.x = x.data(), .dy = dy.data(), .dx = dx.data(), .type = GpuType::kF32, .activation = activation,
                              .count = static_cast<int64_t>(x.size())},
                             Stream{});
    for (size_t i = 0; i < x.size(); ++i) {
      const double slope = (function(x[i] + 1e-5) - function(x[i] - 1e-5)) / 2e-5;
      ASSERT_NEAR(dx[i], dy[i] * slope, 1e-5) << static_cast<int>(activation) << " " << i;
    }
  }
}

TEST(BiasBackward, SumsColumns) {
  const int rows = 300, width = 70, stride = 80;
  const auto dy = Random(size_t(rows) * stride, 1);
  std::vector<float> gradient(width, 3);
  std::vector<char> workspace(simt::BiasBackwardWorkspaceBytes(rows, width), '\xff');
  simt::BiasBackward({.dy = dy.data(), .stride = stride, .bias_gradient = gradient.data(), .workspace = workspace.data(), .type = GpuType::kF32,
                      .rows = rows, .width = width},
                     Stream{});
  std::vector<double> want(width, 3);
  for (int r = 0; r < rows; ++r) {
    for (int c = 0; c < width; ++c) want[c] += dy[size_t(r) * stride + c];
  }
  ExpectNear(gradient, want, 2e-6);
}

TEST(EmbeddingBackward, SumsEachId) {
  const int width = 150;
  const auto dx = Random(5 * width, 1);
  const std::vector<int32_t> rows = {4, 0, 2, 3, 1}, ends = {2, 5}, ids = {7, 2};
  std::vector<float> table(8 * width, 1);
  simt::EmbeddingBackward({.dx = dx.data(), .rows = rows.data(), .group_end = ends.data(), .group_id = ids.data(), .table_gradient = table.data(),
                           .groups = 2, .width = width},
                          Stream{});
  std::vector<double> want(8 * width, 1);
  for (int c = 0; c < width; ++c) {
    want[7 * width + c] += double{dx[4 * width + c]} + dx[c];
    want[2 * width + c] += double{dx[2 * width + c]} + dx[3 * width + c] + dx[width + c];
  }
  ExpectNear(table, want, 1e-6);
}

TEST(Dropout, KeepsTheRateAndRepeats) {
  const int64_t count = 20002;
  const std::vector<float> x(count, 1);
  const auto run = [&](uint64_t seed, uint64_t stream) {
    std::vector<float> y(count, NAN);
    simt::Dropout({.x = x.data(), .y = y.data(), .type = GpuType::kF32, .seed = seed, .stream = stream, .rate = 0.1f, .count = count}, Stream{});
    return y;
  };
  const auto first = run(1, 2);
  int kept = 0;
  for (float y : first) {
    ASSERT_TRUE(y == 0 || std::abs(y - 1 / 0.9f) < 1e-6) << y;
    kept += y != 0;
  }
  EXPECT_NEAR(kept / double(count), 0.9, 4 * std::sqrt(0.09 / count));
  EXPECT_EQ(first, run(1, 2));
  EXPECT_NE(first, run(1, 3));
  EXPECT_NE(first, run(2, 2));
}

TEST(AdamW, FollowsTheFormula) {
  const int count = 301;
  auto weights = Random(count, 1), gradient = Random(count, 2);
  std::vector<float> first(count, 0), second(count, 0);
  std::vector<uint16_t> working(count);
  std::vector<double> w = Widen(weights), m(count), v(count);
  const float scale = 0.5f;
  for (int step = 1; step <= 3; ++step) {
    simt::AdamW({.weights = weights.data(), .working = working.data(), .gradient = gradient.data(), .first = first.data(), .second = second.data(),
                 .gradient_scale = &scale, .rate = 1e-2f, .beta1 = 0.9f, .beta2 = 0.95f, .epsilon = 1e-8f, .decay = 0.1f, .step = step, .count = count},
                Stream{});
    for (int i = 0; i < count; ++i) {
      const double g = gradient[i] * 0.5;
      m[i] = 0.9 * m[i] + 0.1 * g;
      v[i] = 0.95 * v[i] + 0.05 * g * g;
      w[i] -= 1e-2 * (m[i] / (1 - std::pow(0.9, step)) / (std::sqrt(v[i] / (1 - std::pow(0.95, step))) + 1e-8) + 0.1 * w[i]);
    }
  }
  ExpectNear(weights, w, 3e-6);
  for (int i = 0; i < count; ++i) EXPECT_EQ(FromBits(working[i]), oracle::RoundToBf16(weights[i])) << i;
}

TEST(ClipScale, ClipsAndFlagsWhatIsNotFinite) {
  const auto values = Random(40000, 1);
  double want = 0, sum = 0;
  for (float x : values) want += double{x} * x;
  std::vector<char> workspace(simt::SquaredNormWorkspaceBytes(values.size()), '\xff');
  simt::SquaredNorm({.values = values.data(), .count = static_cast<int64_t>(values.size()), .sum = &sum, .workspace = workspace.data()}, Stream{});
  EXPECT_NEAR(sum, want, 1e-9 * want);
  float scale = NAN;
  int32_t finite = -1;
  const auto clip = [&](double norm, float max_norm) {
    simt::ClipScale({.squared_norm = &norm, .base = 0.5f, .max_norm = max_norm, .scale = &scale, .finite = &finite}, Stream{});
  };
  clip(16, 1);
  EXPECT_FLOAT_EQ(scale, 0.125f);
  EXPECT_EQ(finite, 1);
  clip(16, 0);
  EXPECT_FLOAT_EQ(scale, 0.5f);
  clip(NAN, 1);
  EXPECT_EQ(scale, 0);
  EXPECT_EQ(finite, 0);
  clip(INFINITY, 1);
  EXPECT_EQ(finite, 0);
}

TEST(Transpose, MovesEveryElement) {
  const int rows = 45, columns = 70, stride = 72, out_stride = 48;
  std::vector<float> x(size_t(rows) * stride), y(size_t(columns) * out_stride, -1);
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i);
  simt::Transpose({.x = x.data(), .x_stride = stride, .y = y.data(), .y_stride = out_stride, .type = GpuType::kF32, .rows = rows, .columns = columns},
                  Stream{});
  for (int c = 0; c < columns; ++c) {
    for (int r = 0; r < rows; ++r) ASSERT_EQ(y[size_t(c) * out_stride + r], x[size_t(r) * stride + c]);
    for (int r = rows; r < out_stride; ++r) ASSERT_EQ(y[size_t(c) * out_stride + r], -1);
  }
}

}  // namespace
}  // namespace precis::kernels
