// Materialised attention for training and its gradients, run by the SIMT device, against the f64 oracle.

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/attention.h"
#define PRECIS_GPU_NS simt
#include "kernels/backward/train_list.h"
#include "tests/kernels/backward/bf16_bits.h"
#include "tests/oracle/backward.h"

namespace precis::kernels {
namespace {

struct Case {
  std::vector<int> lengths;
  int heads, head_dim;
  bool alibi;
};

// Inputs that are exact in bf16, so that both types have one reference.
std::vector<float> Numbers(size_t count, std::mt19937* random) {
  std::normal_distribution<float> normal;
  std::vector<float> out(count);
  for (float& x : out) x = FromBits(ToBits(normal(*random)));
  return out;
}

template <class T>
std::vector<T> As(const std::vector<float>& values);
template <>
std::vector<float> As(const std::vector<float>& values) { return values; }
template <>
std::vector<uint16_t> As(const std::vector<float>& values) {
  std::vector<uint16_t> out;
  for (float x : values) out.push_back(ToBits(x));
  return out;
}
float ToF(float x) { return x; }
float ToF(uint16_t x) { return FromBits(x); }

template <class T>
void Check(const Case& c, double allowed) {
  std::mt19937 random(7);
  const int width = c.heads * c.head_dim, sequences = static_cast<int>(c.lengths.size());
  int rows = 0;
  int64_t squares = 0;
  std::vector<int32_t> begin;
  std::vector<int64_t> square_begin;
  for (int length : c.lengths) {
    begin.push_back(rows);
    square_begin.push_back(squares);
    rows += length;
    squares += int64_t{length} * length * c.heads;
  }
  const std::vector<float> qkv = Numbers(static_cast<size_t>(rows) * 3 * width, &random), d_output = Numbers(static_cast<size_t>(rows) * width, &random);
  const std::vector<float> slopes = AlibiSlopes(c.heads);
  const std::vector<T> qkv_t = As<T>(qkv), d_output_t = As<T>(d_output);
  std::vector<T> output(static_cast<size_t>(rows) * width, static_cast<T>(-1)), d_qkv(qkv.size(), static_cast<T>(-1));
  std::vector<float> probabilities(static_cast<size_t>(squares), NAN), d_scores(static_cast<size_t>(squares), NAN);
  const StandardAttentionArgs args = {
      .qkv = qkv_t.data(), .qkv_stride = 3 * width, .output = output.data(), .d_output = d_output_t.data(), .output_stride = width, .d_qkv = d_qkv.data(),
      .probabilities = probabilities.data(), .d_scores = d_scores.data(), .begin = begin.data(), .length = c.lengths.data(), .square_begin = square_begin.data(),
      .sequences = sequences, .max_length = *std::max_element(c.lengths.begin(), c.lengths.end()), .heads = c.heads, .head_dim = c.head_dim,
      .scale = 1 / std::sqrt(static_cast<float>(c.head_dim)), .alibi_slopes = c.alibi ? slopes.data() : nullptr,
      .type = sizeof(T) == 2 ? GpuType::kBf16 : GpuType::kF32};
  simt::StandardAttentionForward(args, Stream{});
  simt::StandardAttentionBackward(args, Stream{});
  for (int s = 0; s < sequences; ++s) {
    for (int h = 0; h < c.heads; ++h) {
      const auto part = [&](const std::vector<float>& from, int columns, int offset) {
        std::vector<double> out;
        for (int i = 0; i < c.lengths[s]; ++i) {
          for (int d = 0; d < c.head_dim; ++d) out.push_back(from[static_cast<size_t>(begin[s] + i) * columns + offset + h * c.head_dim + d]);
        }
        return out;
      };
      const auto expected = oracle::AttentionBackward(part(qkv, 3 * width, 0), part(qkv, 3 * width, width), part(qkv, 3 * width, 2 * width), part(d_output, width, 0),
                                                      c.lengths[s], c.head_dim, args.scale, c.alibi ? slopes[h] : 0);
      const auto compare = [&](const char* what, const std::vector<T>& got, int columns, int offset, const std::vector<double>& reference) {
        double worst = 0, size = 0;
        for (int i = 0; i < c.lengths[s]; ++i) {
          for (int d = 0; d < c.head_dim; ++d) {
            const double value = ToF(got[static_cast<size_t>(begin[s] + i) * columns + offset + h * c.head_dim + d]);
            const double error = std::abs(value - reference[static_cast<size_t>(i) * c.head_dim + d]);
            worst = error >= 0 ? std::max(worst, error) : INFINITY;  // NaN
            size = std::max(size, std::abs(reference[static_cast<size_t>(i) * c.head_dim + d]));
          }
        }
        EXPECT_LE(worst, allowed * size) << what << ", sequence " << s << ", head " << h;
      };
      compare("output", output, width, 0, expected.output);
      compare("dQ", d_qkv, 3 * width, 0, expected.dq);
      compare("dK", d_qkv, 3 * width, width, expected.dk);
      compare("dV", d_qkv, 3 * width, 2 * width, expected.dv);
    }
  }
}

const Case kCases[] = {
    {{1}, 1, 32, false}, {{63, 64, 65}, 2, 32, false}, {{130, 7}, 3, 64, true}, {{70}, 1, 96, true},
};

TEST(StandardAttentionTest, InSinglePrecision) {
  for (const Case& c : kCases) Check<float>(c, 2e-5);
}
// Matrices stay in f32: what is left is the rounding of the results, half a unit in the last of 8 bits.
TEST(StandardAttentionTest, InHalfPrecision) {
  for (const Case& c : kCases) Check<uint16_t>(c, 1.0 / 256);
}

}  // namespace
}  // namespace precis::kernels
