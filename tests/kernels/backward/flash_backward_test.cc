// Gradients of flash attention, run by the SIMT device, against the f64 oracle. Gate: error at most 3 times that of a plain bf16 computation of the same
// formulas (probabilities and dS rounded to bf16 for the products, as matrix units want them), plus the rounding of the reference itself.

#include <algorithm>
#include <cmath>
#include <random>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/attention.h"
#define PRECIS_GPU_NS simt
#include "kernels/backward/sm90/flash_backward_sm90.h"
#include "kernels/backward/train_list.h"
#include "tests/kernels/backward/bf16_bits.h"
#include "tests/oracle/backward.h"
#include "tests/oracle/oracle.h"

namespace precis::kernels {
namespace {

struct Case {
  std::vector<int> lengths;
  int heads;
  int head_dim;
  bool alibi;
  bool deterministic;
  GpuType type = GpuType::kBf16;
  bool hopper = false;
  float slope = 0;     // of all heads, instead of the true ones
  int max_length = 0;  // told to the kernel, instead of the longest: from 2048 on Hopper's engine leaves out what ALiBi doesn't reach
};

// Storage in the tested type; exact heap blocks, so that the address sanitizer sees a step outside.
class Values {
 public:
  Values(GpuType type, size_t count) : type_(type), half_(type == GpuType::kBf16 ? count : 0, 0x7fc0), single_(type == GpuType::kF32 ? count : 0, NAN) {}
  void Set(size_t i, float x) {
    if (type_ == GpuType::kBf16) {
      half_[i] = ToBits(x);
    } else {
      single_[i] = x;
    }
  }
  float Get(size_t i) const { return type_ == GpuType::kBf16 ? FromBits(half_[i]) : single_[i]; }
  void* data() { return type_ == GpuType::kBf16 ? static_cast<void*>(half_.data()) : single_.data(); }
  size_t size() const { return half_.size() + single_.size(); }

 private:
  GpuType type_;
  std::vector<uint16_t> half_;
  std::vector<float> single_;
};

class Problem {
 public:
  explicit Problem(const Case& c, uint32_t seed)
      : case_(c), width_(c.heads * c.head_dim), rows_(Total(c.lengths)), qkv_(c.type, size_t(rows_) * 3 * width_), output_(c.type, size_t(rows_) * width_),
        d_output_(c.type, size_t(rows_) * width_), lse_(size_t(c.heads) * rows_), slopes_(c.slope > 0 ? std::vector<float>(c.heads, c.slope) : AlibiSlopes(c.heads)) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    for (size_t i = 0; i < qkv_.size(); ++i) qkv_.Set(i, normal(random));
    for (size_t i = 0; i < d_output_.size(); ++i) d_output_.Set(i, normal(random));
    scale_ = 1 / std::sqrt(static_cast<float>(c.head_dim));
    int begin = 0;
    for (int length : c.lengths) {
      begins_.push_back(begin);
      begin += length;
    }
    Reference();
  }

  Values Run() {
    Values d_qkv(case_.type, qkv_.size());
    const int64_t bytes = case_.hopper ? simt::FlashBackwardSm90WorkspaceBytes(rows_, case_.heads)
                                       : simt::FlashBackwardWorkspaceBytes(rows_, case_.heads, case_.head_dim, case_.deterministic);
    std::vector<char> workspace(static_cast<size_t>(bytes), '\xff');
    FlashBackwardArgs args = {.qkv = qkv_.data(), .qkv_stride = 3 * width_, .output = output_.data(), .d_output = d_output_.data(),
                              .output_stride = width_, .log_sum_exp = lse_.data(), .lse_stride = rows_, .d_qkv = d_qkv.data(),
                              .begin = begins_.data(), .length = case_.lengths.data(), .sequences = int(begins_.size()),
                              .max_length = std::max(case_.max_length, *std::max_element(case_.lengths.begin(), case_.lengths.end())), .rows = rows_,
                              .heads = case_.heads, .head_dim = case_.head_dim, .scale = scale_,
                              .alibi_slopes = case_.alibi ? slopes_.data() : nullptr, .type = case_.type,
                              .deterministic = case_.deterministic, .workspace = workspace.data()};
    case_.hopper ? simt::FlashBackwardSm90(args, Stream{}) : simt::FlashBackward(args, Stream{});
    return d_qkv;
  }

  // A row of the values (of qkv) or of the output's gradient that is not a number.
  void SpoilValues(int row) {
    for (int c = 2 * width_; c < 3 * width_; ++c) qkv_.Set(size_t(row) * 3 * width_ + c, NAN);
  }
  void SpoilGradient(int row) {
    for (int c = 0; c < width_; ++c) d_output_.Set(size_t(row) * width_ + c, NAN);
  }
  // The first of a row's gradients, part as below.
  float At(const Values& got, int row, int part) const { return got.Get(size_t(row) * 3 * width_ + size_t(part) * width_); }

  // part 0: dQ, 1: dK, 2: dV.
  void Check(const Values& got) const {
    for (int part = 0; part < 3; ++part) {
      double worst = 0, worst_plain = 0, rounding = 0;
      for (size_t row = 0; row < size_t(rows_); ++row) {
        for (int c = 0; c < width_; ++c) {
          const size_t at = row * 3 * width_ + size_t(part) * width_ + c;
          ASSERT_FALSE(std::isnan(got.Get(at))) << "part " << part << " row " << row << " column " << c;
          worst = std::max(worst, std::abs(got.Get(at) - reference_[at]));
          worst_plain = std::max(worst_plain, std::abs(plain_[at] - reference_[at]));
          rounding = std::max(rounding, std::abs(double{Round(static_cast<float>(reference_[at]))} - reference_[at]));
        }
      }
      EXPECT_LE(worst, 3 * worst_plain + 2 * rounding + (case_.type == GpuType::kF32 ? 2e-5 : 0)) << "part " << part << ", plain bf16 " << worst_plain;
    }
  }

 private:
  static int Total(const std::vector<int>& lengths) {
    int sum = 0;
    for (int length : lengths) sum += length;
    return sum;
  }
  float Round(float x) const { return case_.type == GpuType::kBf16 ? oracle::RoundToBf16(x) : x; }

  std::vector<double> Part(const Values& from, int part, int parts, int sequence, int head) const {
    const int length = case_.lengths[sequence], d = case_.head_dim;
    std::vector<double> out(size_t(length) * d);
    for (int i = 0; i < length; ++i) {
      for (int c = 0; c < d; ++c) {
        out[size_t(i) * d + c] = from.Get((size_t(begins_[sequence]) + i) * parts * width_ + size_t(part) * width_ + head * d + c);
      }
    }
    return out;
  }

  void Reference() {
    reference_.assign(qkv_.size(), 0);
    plain_.assign(qkv_.size(), 0);
    for (size_t s = 0; s < case_.lengths.size(); ++s) {
      for (int h = 0; h < case_.heads; ++h) ReferenceHead(int(s), h);
    }
  }

  void ReferenceHead(int s, int h) {
    const int length = case_.lengths[s], d = case_.head_dim;
    const auto q = Part(qkv_, 0, 3, s, h), k = Part(qkv_, 1, 3, s, h), v = Part(qkv_, 2, 3, s, h), d_output = Part(d_output_, 0, 1, s, h);
    const double slope = case_.alibi ? slopes_[h] : 0;
    const auto exact = oracle::AttentionBackward(q, k, v, d_output, length, d, scale_, slope);
    for (int i = 0; i < length; ++i) {
      lse_[size_t(h) * rows_ + begins_[s] + i] = static_cast<float>(exact.log_sum_exp[i]);
      for (int c = 0; c < d; ++c) output_.Set((size_t(begins_[s]) + i) * width_ + h * d + c, static_cast<float>(exact.output[size_t(i) * d + c]));
    }
    Scatter(exact.dq, exact.dk, exact.dv, s, h, reference_);
    Plain(q, k, v, d_output, exact, s, h, slope);
  }

  // The textbook computation with every intermediate matrix rounded to the tested type: what materialised training does.
  void Plain(const std::vector<double>& q, const std::vector<double>& k, const std::vector<double>& v, const std::vector<double>& d_output,
             const oracle::AttentionGradients& exact, int s, int h, double slope) {
    const int length = case_.lengths[s], d = case_.head_dim;
    std::vector<double> dq(q.size()), dk(q.size()), dv(q.size());
    for (int i = 0; i < length; ++i) {
      double delta = 0;
      for (int c = 0; c < d; ++c) delta += double{Round(float(exact.output[i * d + c]))} * d_output[i * d + c];
      for (int j = 0; j <= i; ++j) {
        double dot = 0, dp = 0;
        for (int c = 0; c < d; ++c) {
          dot += q[i * d + c] * k[j * d + c];
          dp += d_output[i * d + c] * v[j * d + c];
        }
        const float p = Round(float(std::exp(double{Round(float(dot * scale_))} - slope * (i - j) - exact.log_sum_exp[i])));
        const float ds = Round(float(p * (double{Round(float(dp))} - delta)) * scale_);
        for (int c = 0; c < d; ++c) {
          dv[j * d + c] += p * d_output[i * d + c];
          dq[i * d + c] += ds * k[j * d + c];
          dk[j * d + c] += ds * q[i * d + c];
        }
      }
    }
    for (auto* values : {&dq, &dk, &dv}) {
      for (double& x : *values) x = Round(float(x));
    }
    Scatter(dq, dk, dv, s, h, plain_);
  }

  void Scatter(const std::vector<double>& dq, const std::vector<double>& dk, const std::vector<double>& dv, int s, int h, std::vector<double>& to) const {
    const int d = case_.head_dim;
    for (int i = 0; i < case_.lengths[s]; ++i) {
      for (int c = 0; c < d; ++c) {
        double* row = &to[(size_t(begins_[s]) + i) * 3 * width_ + h * d + c];
        row[0] = dq[size_t(i) * d + c];
        row[width_] = dk[size_t(i) * d + c];
        row[2 * width_] = dv[size_t(i) * d + c];
      }
    }
  }

  const Case case_;
  const int width_, rows_;
  Values qkv_, output_, d_output_;
  std::vector<float> lse_;
  const std::vector<float> slopes_;
  std::vector<int32_t> begins_;
  std::vector<double> reference_, plain_;
  float scale_;
};

class FlashBackward : public testing::TestWithParam<Case> {};

TEST_P(FlashBackward, PassesTheGate) {
  Problem problem(GetParam(), 1);
  problem.Check(problem.Run());
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, FlashBackward,
    testing::Values(Case{{1}, 1, 64, false, true}, Case{{2, 1}, 2, 64, true, false}, Case{{31, 32, 33}, 1, 64, true, true},
                    Case{{127, 0, 128}, 1, 64, false, false}, Case{{129}, 1, 64, true, false}, Case{{129}, 1, 64, false, true},
                    Case{{200}, 1, 64, true, true}, Case{{70}, 3, 32, true, false}, Case{{66}, 1, 80, true, true}, Case{{66}, 1, 96, false, false},
                    Case{{66}, 1, 128, true, false}, Case{{66}, 1, 128, true, true}, Case{{40}, 2, 48, true, true},
                    Case{{40, 3}, 2, 64, true, true, GpuType::kF32}, Case{{33}, 1, 20, false, true, GpuType::kF32}));

Case Hopper(std::vector<int> lengths, int heads, bool alibi) { return {std::move(lengths), heads, 64, alibi, true, GpuType::kBf16, true}; }
INSTANTIATE_TEST_SUITE_P(
    Hopper, FlashBackward,
    testing::Values(Hopper({1}, 1, false), Hopper({2, 1}, 2, true), Hopper({63, 64, 65}, 1, false), Hopper({127, 0, 128}, 1, true), Hopper({129}, 2, false),
                    Hopper({200, 70}, 1, true), Hopper({450}, 1, false)));

Case WithReach(std::vector<int> lengths, float slope) { return {std::move(lengths), 1, 64, true, true, GpuType::kBf16, true, slope, 2048}; }
INSTANTIATE_TEST_SUITE_P(HopperReach, FlashBackward,
                         testing::Values(WithReach({600}, 0.5f), WithReach({30, 300, 290}, 0.8f), WithReach({200}, 0.01f)));

// What is out of reach is not even multiplied by 0.
TEST(FlashBackwardReach, FarPairsAreLeftOut) {
  for (const int max_length : {600, 2048}) {
    Case c = WithReach({600}, 0.5f);
    c.max_length = max_length;
    Problem problem(c, 2);
    problem.SpoilValues(3);
    problem.SpoilGradient(597);
    const Values got = problem.Run();
    const bool far = max_length < 2048;
    EXPECT_EQ(std::isnan(problem.At(got, 550, 0)), far);
    EXPECT_EQ(std::isnan(problem.At(got, 50, 2)), far);
    EXPECT_EQ(std::isnan(problem.At(got, 50, 1)), far);
    EXPECT_TRUE(std::isnan(problem.At(got, 20, 0)));
    EXPECT_TRUE(std::isnan(problem.At(got, 580, 2)));
  }
}

class FlashBackwardBits : public testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(Engines, FlashBackwardBits, testing::Bool());
TEST_P(FlashBackwardBits, DeterministicGradientsRepeat) {
  Problem problem({{130, 20}, 2, 64, true, true, GpuType::kBf16, GetParam()}, 3);
  const Values first = problem.Run(), second = problem.Run();
  for (size_t i = 0; i < first.size(); ++i) ASSERT_EQ(first.Get(i), second.Get(i)) << i;
}

TEST(AttentionBackwardOracle, AgreesWithFiniteDifferences) {
  const int length = 6, d = 4;
  std::mt19937 random(5);
  std::normal_distribution<double> normal;
  std::vector<double> x[3], d_output(length * d);
  for (auto& values : x) {
    values.resize(length * d);
    for (double& value : values) value = normal(random);
  }
  for (double& value : d_output) value = normal(random);
  const auto loss = [&] {
    const auto out = oracle::Attention(x[0], x[1], x[2], length, length, d, 0.5, 0.25);
    double sum = 0;
    for (size_t i = 0; i < out.size(); ++i) sum += out[i] * d_output[i];
    return sum;
  };
  const auto g = oracle::AttentionBackward(x[0], x[1], x[2], d_output, length, d, 0.5, 0.25);
  const std::vector<double>* gradients[] = {&g.dq, &g.dk, &g.dv};
  for (int part = 0; part < 3; ++part) {
    for (int i = 0; i < length * d; ++i) {
      const double saved = x[part][i], step = 1e-5;
      x[part][i] = saved + step;
      const double up = loss();
      x[part][i] = saved - step;
      const double down = loss();
      x[part][i] = saved;
      EXPECT_NEAR((*gradients[part])[i], (up - down) / (2 * step), 1e-8) << part << " " << i;
    }
  }
}

}  // namespace
}  // namespace precis::kernels
