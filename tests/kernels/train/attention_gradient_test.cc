// Attention within sequences.
#include <cmath>
#include <vector>

#include "kernels/attention.h"
#include "tests/kernels/train/train_ops_fixture.h"

namespace precis::kernels {
namespace {

struct AttentionCase {
  std::vector<int32_t> lengths;
  int heads, head_dim;
  bool alibi, materialised;
};

// Definition in f64 of all sequences.
Doubles Attention(const Doubles& qkv, const AttentionCase& a, double scale, const Floats& slopes) {
  const int width = a.heads * a.head_dim;
  Doubles y(qkv.size() / 3, 0.0);
  int first = 0;
  for (int length : a.lengths) {
    for (int h = 0; h < a.heads; ++h) {
      for (int i = 0; i < length; ++i) {
        const double* q = &qkv[static_cast<size_t>(first + i) * 3 * width + h * a.head_dim];
        Doubles p(i + 1);
        double sum = 0;
        for (int j = 0; j <= i; ++j) {
          const double* k = &qkv[static_cast<size_t>(first + j) * 3 * width + width + h * a.head_dim];
          double s = 0;
          for (int d = 0; d < a.head_dim; ++d) s += q[d] * k[d];
          sum += p[j] = std::exp(s * scale + (a.alibi ? slopes[h] * (j - i) : 0));
        }
        for (int j = 0; j <= i; ++j) {
          const double* v = &qkv[static_cast<size_t>(first + j) * 3 * width + 2 * width + h * a.head_dim];
          for (int d = 0; d < a.head_dim; ++d) y[static_cast<size_t>(first + i) * width + h * a.head_dim + d] += p[j] / sum * v[d];
        }
      }
    }
    first += length;
  }
  return y;
}

TEST_P(TrainOpsTest, AttentionWithinEachSequence) {
  std::vector<AttentionCase> cases = {{{5, 1, 9}, 2, 32, false, false}, {{17}, 2, 32, true, false}, {{70}, 1, 32, true, false}};
  if (!GetParam().simt) {  // head sizes that the GPU's engines don't take, and the textbook way
    cases.insert(cases.end(), {{{11, 3}, 3, 6, true, false}, {{66}, 1, 20, false, false}, {{5, 66}, 2, 8, true, true}, {{49}, 1, 32, false, true}});
  }
  for (const AttentionCase& a : cases) {
    const int width = a.heads * a.head_dim;
    std::vector<int32_t> begin;
    int rows = 0;
    int64_t kept = 0;
    for (int32_t length : a.lengths) begin.push_back(rows), rows += length, kept += int64_t{a.heads} * length * length;
    const Floats qkv = Random(size_t(rows) * 3 * width, 1), c = Random(size_t(rows) * width, 2), slopes = AlibiSlopes(a.heads);
    const float scale = 1 / std::sqrt(static_cast<float>(a.head_dim));
    float *output = Zeros(c.size()), *gradient = Put(Floats(qkv.size(), NAN));
    device_->SetSequences(begin, a.lengths);
    TrainAttentionArgs args = {.qkv = Put(qkv), .output = output, .log_sum_exp = Zeros(size_t(a.heads) * rows),
                               .probabilities = a.materialised ? Zeros(kept) : nullptr, .alibi_slopes = a.alibi ? Put(slopes) : nullptr, .heads = a.heads,
                               .head_dim = a.head_dim, .scale = scale};
    device_->AttentionForward(args);
    args.d_output = Put(c);
    args.d_qkv = gradient;
    device_->AttentionBackward(args);
    const auto f = [&](const Doubles& v) { return Attention(v, a, scale, slopes); };
    ExpectNear(Get(output, c.size()), f({qkv.begin(), qkv.end()}), 3e-6, "output");
    if (rows < 30) {
      ExpectNear(Get(gradient, qkv.size()), Differences(f, qkv, c), 2e-5, "gradient");
      continue;
    }
    // Long ones in a few random directions.
    const Floats got = Get(gradient, qkv.size());
    for (uint32_t seed = 0; seed < 8; ++seed) {
      const Floats direction = Random(qkv.size(), 100 + seed);
      double slope = 0, size = 0;
      for (size_t i = 0; i < got.size(); ++i) slope += double{got[i]} * direction[i], size += std::abs(double{got[i]} * direction[i]);
      double losses[2];
      for (const int sign : {0, 1}) {
        Doubles moved(qkv.begin(), qkv.end());
        for (size_t i = 0; i < moved.size(); ++i) moved[i] += (sign == 1 ? 1e-5 : -1e-5) * direction[i];
        const Doubles y = f(moved);
        losses[sign] = 0;
        for (size_t i = 0; i < y.size(); ++i) losses[sign] += y[i] * c[i];
      }
      EXPECT_NEAR(slope, (losses[1] - losses[0]) / 2e-5, 1e-5 * size) << "direction " << seed;
    }
  }
}

}  // namespace
}  // namespace precis::kernels
