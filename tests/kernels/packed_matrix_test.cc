#include <cmath>
#include <cstring>
#include <random>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/ops.h"
#include "tests/kernels/isas.h"
#include "tests/oracle/oracle.h"

namespace precis::kernels {
namespace {

struct Case {
  CpuIsa isa;
  DType dtype;
};

std::vector<Case> AllCases() {
  std::vector<Case> cases;
  for (CpuIsa isa : TestedIsas()) {
    for (DType dtype : {DType::kF32, DType::kBf16, DType::kI8}) cases.push_back({isa, dtype});
  }
  return cases;
}

std::vector<float> Random(size_t count, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

std::vector<double> Doubles(const std::vector<float>& x) { return {x.begin(), x.end()}; }

std::vector<float> Transpose(const std::vector<float>& x, int64_t rows, int64_t columns) {
  std::vector<float> result(x.size());
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < columns; ++c) result[c * rows + r] = x[r * columns + c];
  }
  return result;
}

class PackedMatrixTest : public testing::TestWithParam<Case> {
 protected:
  // From [in][out] floats.
  std::unique_ptr<PackedMatrix> Pack(const std::vector<float>& weights, int64_t in, int64_t out) {
    WeightSource source;
    source.data = weights.data();
    source.in = in;
    source.out = out;
    return *PackedMatrix::Pack(source, GetParam().dtype, GetParam().isa, pool_);
  }

  std::vector<float> Multiply(const PackedMatrix& matrix, const std::vector<float>& x, int64_t rows,
                              const float* bias = nullptr, Activation activation = Activation::kNone) {
    std::vector<float> y(rows * matrix.out(), NAN);
    PackedMatrix::Args args;
    args.x = x.data();
    args.x_stride = matrix.in();
    args.y = y.data();
    args.y_stride = matrix.out();
    args.rows = rows;
    args.bias = bias;
    args.activation = activation;
    matrix.Multiply(args, pool_);
    return y;
  }

  // The weights as the matrix has them, [in][out].
  std::vector<float> Unpack(const PackedMatrix& matrix) {
    std::vector<float> rows(matrix.in() * matrix.out());
    for (int64_t n = 0; n < matrix.out(); ++n) matrix.CopyOutputRow(n, rows.data() + n * matrix.in());
    return Transpose(rows, matrix.out(), matrix.in());
  }

  // Bound of |y - ref| over max |ref|, given the weights as packed. f32: rounding of sums. int8: activations are rounded to 1/254 of the
  // largest of their group. bf16 activations (AVX-512): 2^-9.
  double Tolerance() const {
    if (GetParam().dtype == DType::kI8) return 1.5e-2;
    if (GetParam().dtype == DType::kBf16 && GetParam().isa == CpuIsa::kAvx512) return 4e-3;
    return 2e-6;
  }

  ThreadPool pool_{2};
};

double Error(const std::vector<float>& y, const std::vector<double>& reference) {
  if (y.empty()) return 0;
  double worst = 0, largest = 0;
  for (size_t i = 0; i < y.size(); ++i) {
    if (!std::isfinite(y[i])) return INFINITY;
    worst = std::max(worst, std::abs(y[i] - reference[i]));
    largest = std::max(largest, std::abs(reference[i]));
  }
  return worst / largest;
}

TEST_P(PackedMatrixTest, OddShapes) {
  for (int64_t in : {1, 2, 3, 5, 17, 64, 65, 100, 257, 768, 1030}) {
    for (int64_t out : {1, 2, 7, 8, 15, 16, 17, 33, 100, 257}) {
      const auto matrix = Pack(Random(in * out, in * 1000 + out), in, out);
      EXPECT_EQ(matrix->in(), in);
      EXPECT_EQ(matrix->out(), out);
      EXPECT_EQ(matrix->dtype(), GetParam().dtype);
      const std::vector<double> weights = Doubles(Unpack(*matrix));
      for (int64_t rows : {1, 2, 3, 4, 5, 6, 7, 13}) {
        const std::vector<float> x = Random(rows * in, rows + in);
        const std::vector<float> bias = Random(out, out);
        const auto reference = oracle::Linear(Doubles(x), weights, Doubles(bias), rows, in, out);
        // One sum's error grows with the root of its length, relative to the largest of few outputs.
        const double tolerance = Tolerance() * (rows * out < 64 ? 8 : 1);
        ASSERT_LT(Error(Multiply(*matrix, x, rows, bias.data()), reference), tolerance)
            << in << " x " << out << ", " << rows << " rows";
      }
    }
  }
}

TEST_P(PackedMatrixTest, ManyRows) {
  const int64_t in = 300, out = 70;
  const auto matrix = Pack(Random(in * out, 1), in, out);
  const std::vector<double> weights = Doubles(Unpack(*matrix));
  for (int64_t rows : {0, 24, 191, 192, 193, 500}) {
    const std::vector<float> x = Random(rows * in, rows);
    EXPECT_LT(Error(Multiply(*matrix, x, rows), oracle::Linear(Doubles(x), weights, {}, rows, in, out)), Tolerance() + 1e-9)
        << rows;
  }
}

// A row's result has the same bits whatever the number of rows, the rows beside it and the number of threads.
TEST_P(PackedMatrixTest, RowsAreIndependentBitwise) {
  const int64_t in = 1100, out = 83;
  const auto matrix = Pack(Random(in * out, 2), in, out);
  const int64_t most = 400;
  const std::vector<float> x = Random(most * in, 3);
  std::vector<float> alone;
  for (int64_t r = 0; r < most; ++r) {
    const std::vector<float> row = Multiply(*matrix, {x.begin() + r * in, x.begin() + (r + 1) * in}, 1);
    alone.insert(alone.end(), row.begin(), row.end());
  }
  for (int64_t rows : {2, 3, 4, 5, 6, 7, 8, 11, 12, 13, 16, 25, 50, 192, 193, 400}) {
    for (int64_t first : {int64_t{0}, most - rows}) {
      const std::vector<float> y = Multiply(*matrix, {x.begin() + first * in, x.begin() + (first + rows) * in}, rows);
      EXPECT_EQ(std::memcmp(y.data(), alone.data() + first * out, y.size() * sizeof(float)), 0) << rows << " from " << first;
    }
  }
  ThreadPool one(1);
  std::vector<float> y(most * out);
  PackedMatrix::Args args;
  args.x = x.data();
  args.x_stride = in;
  args.y = y.data();
  args.y_stride = out;
  args.rows = most;
  matrix->Multiply(args, one);
  EXPECT_EQ(std::memcmp(y.data(), alone.data(), y.size() * sizeof(float)), 0);
}

TEST_P(PackedMatrixTest, StridesAccumulateAndNothingElse) {
  const int64_t in = 50, out = 37, rows = 9, x_stride = 61, y_stride = 44;
  const auto matrix = Pack(Random(in * out, 4), in, out);
  const std::vector<float> x = Random(rows * in, 5), bias = Random(out, 6), before = Random(rows * out, 7);
  const std::vector<float> plain = Multiply(*matrix, x, rows, bias.data());
  std::vector<float> wide(rows * x_stride, NAN), y(rows * y_stride, 777.0f);
  for (int64_t r = 0; r < rows; ++r) {
    std::copy_n(x.data() + r * in, in, wide.data() + r * x_stride);
    std::copy_n(before.data() + r * out, out, y.data() + r * y_stride);
  }
  PackedMatrix::Args args;
  args.x = wide.data();
  args.x_stride = x_stride;
  args.y = y.data();
  args.y_stride = y_stride;
  args.rows = rows;
  args.bias = bias.data();
  args.accumulate = true;
  matrix->Multiply(args, pool_);
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t n = 0; n < out; ++n) ASSERT_EQ(y[r * y_stride + n], before[r * out + n] + plain[r * out + n]);
    for (int64_t n = out; n < y_stride; ++n) ASSERT_EQ(y[r * y_stride + n], 777.0f);
  }
}

TEST_P(PackedMatrixTest, Activations) {
  // A row of ones times x as the weights: y = activation(x).
  const int64_t out = 4001;
  std::vector<float> grid(out);
  for (int64_t n = 0; n < out; ++n) grid[n] = (n - 2000) / 100.0f;
  const std::vector<float> zero(out, 0.0f), one = {1.0f};
  const auto matrix = Pack(zero, 1, out);
  const auto relu = [](double v) { return v > 0 ? v : 0.0; };
  const std::pair<Activation, double (*)(double)> activations[] = {
      {Activation::kGeluTanh, oracle::GeluTanh}, {Activation::kGeluErf, oracle::GeluErf},
      {Activation::kRelu, relu},                 {Activation::kSilu, oracle::Silu},
      {Activation::kQuickGelu, oracle::QuickGelu}};
  for (const auto& [activation, function] : activations) {
    const std::vector<float> y = Multiply(*matrix, one, 1, grid.data(), activation);
    for (int64_t n = 0; n < out; ++n) {
      const double expected = function(grid[n]);
      ASSERT_NEAR(y[n], expected, 4e-7 + 6e-7 * std::abs(expected)) << static_cast<int>(activation) << " at " << grid[n];
    }
  }
}

TEST_P(PackedMatrixTest, ActivationsAtExtremes) {
  const std::vector<float> extremes = {-1e30f, 1e30f, -300.0f, 300.0f, NAN};
  const auto matrix = Pack(std::vector<float>(5, 0.0f), 1, 5);
  for (Activation activation : {Activation::kGeluTanh, Activation::kGeluErf, Activation::kRelu, Activation::kSilu,
                                Activation::kQuickGelu}) {
    const std::vector<float> y = Multiply(*matrix, {1.0f}, 1, extremes.data(), activation);
    EXPECT_NEAR(y[0], 0, 1e-6);
    EXPECT_EQ(y[1], 1e30f);
    EXPECT_NEAR(y[2], 0, 1e-6);
    EXPECT_EQ(y[3], 300.0f);
    EXPECT_TRUE(std::isnan(y[4]));
  }
}

TEST_P(PackedMatrixTest, LayoutsAndSourceTypesAgree) {
  const int64_t in = 77, out = 51;
  // Values that bf16 and f16 hold exactly.
  std::vector<float> weights = Random(in * out, 8);
  for (float& w : weights) w = oracle::RoundToBf16(std::round(w * 64) / 64);
  const std::vector<float> transposed = Transpose(weights, in, out);
  const auto convert = [](const std::vector<float>& from, bool half) {
    std::vector<uint16_t> to;
    for (float x : from) {
      if (half) {
        const _Float16 h = static_cast<_Float16>(x);
        uint16_t bits;
        std::memcpy(&bits, &h, 2);
        to.push_back(bits);
      } else {
        uint32_t bits;
        std::memcpy(&bits, &x, 4);
        to.push_back(static_cast<uint16_t>(bits >> 16));
      }
    }
    return to;
  };
  const auto expected = Unpack(*Pack(weights, in, out));
  for (WeightLayout layout : {WeightLayout::kInOut, WeightLayout::kOutIn}) {
    const std::vector<float>& floats = layout == WeightLayout::kInOut ? weights : transposed;
    const std::vector<uint16_t> f16 = convert(floats, true), bf16 = convert(floats, false);
    for (const auto& [dtype, data] : {std::pair<SourceDType, const void*>{SourceDType::kF32, floats.data()},
                                      {SourceDType::kF16, f16.data()},
                                      {SourceDType::kBf16, bf16.data()}}) {
      WeightSource source = {data, dtype, layout, in, out, nullptr};
      const auto matrix = *PackedMatrix::Pack(source, GetParam().dtype, GetParam().isa, pool_);
      EXPECT_EQ(Unpack(*matrix), expected) << static_cast<int>(dtype);
    }
  }
}

TEST_P(PackedMatrixTest, PacksAsRoundedAsItsTypeAllows) {
  const int64_t in = 130, out = 40;
  const std::vector<float> weights = Random(in * out, 9);
  const std::vector<float> packed = Unpack(*Pack(weights, in, out));
  for (int64_t n = 0; n < out; ++n) {
    float largest = 0;
    for (int64_t k = 0; k < in; ++k) largest = std::max(largest, std::abs(weights[k * out + n]));
    for (int64_t k = 0; k < in; ++k) {
      const float w = weights[k * out + n], p = packed[k * out + n];
      if (GetParam().dtype == DType::kF32) {
        ASSERT_EQ(p, w);
      } else if (GetParam().dtype == DType::kBf16) {
        ASSERT_EQ(p, oracle::RoundToBf16(w));
      } else {
        ASSERT_NEAR(p, w, largest / 254 * 1.001);
      }
    }
  }
}

// Every byte value, -128 too, with activations that stress the 16-bit sums of vpmaddubsw: exact, since all is whole numbers.
TEST_P(PackedMatrixTest, Int8SourceIsExact) {
  const int64_t in = 256, out = 19;
  std::vector<int8_t> weights(in * out);
  std::vector<float> scale(out);
  std::mt19937_64 random(10);
  for (int8_t& w : weights) w = static_cast<int8_t>(random() % 256 - 128);
  for (int64_t n = 0; n < out; ++n) scale[n] = std::ldexp(1.0f, static_cast<int>(n % 5) - 2);
  for (int64_t k = 0; k < in; ++k) weights[k * out] = -128;
  for (int64_t k = 0; k < in; ++k) weights[k * out + 1] = 127;
  for (WeightLayout layout : {WeightLayout::kInOut, WeightLayout::kOutIn}) {
    std::vector<int8_t> laid = weights;
    if (layout == WeightLayout::kOutIn) {
      for (int64_t k = 0; k < in; ++k) {
        for (int64_t n = 0; n < out; ++n) laid[n * in + k] = weights[k * out + n];
      }
    }
    WeightSource source = {laid.data(), SourceDType::kI8, layout, in, out, scale.data()};
    const auto matrix = *PackedMatrix::Pack(source, GetParam().dtype, GetParam().isa, pool_);
    std::vector<float> x(3 * in);
    for (int64_t k = 0; k < in; ++k) {
      x[k] = 127;
      x[in + k] = -127;
      x[2 * in + k] = k % 3 == 0 ? 127 : -127;
    }
    const std::vector<float> y = Multiply(*matrix, x, 3);
    for (int64_t r = 0; r < 3; ++r) {
      for (int64_t n = 0; n < out; ++n) {
        double expected = 0;
        for (int64_t k = 0; k < in; ++k) expected += double{x[r * in + k]} * weights[k * out + n] * scale[n];
        ASSERT_NEAR(y[r * out + n], expected, 1e-6 * std::abs(expected) + 1e-3) << r << " " << n;
      }
    }
    std::vector<float> row(in);
    matrix->CopyOutputRow(0, row.data());
    for (float w : row) ASSERT_EQ(w, -128 * scale[0]);
  }
}

TEST_P(PackedMatrixTest, HeadSizedMatrix) {
  // As GPT-2's head, outputs no multiple of any panel.
  const int64_t in = 24, out = 50257;
  const auto matrix = Pack(Random(in * out, 12), in, out);
  const std::vector<float> x = Random(2 * in, 13);
  EXPECT_LT(Error(Multiply(*matrix, x, 2), oracle::Linear(Doubles(x), Doubles(Unpack(*matrix)), {}, 2, in, out)),
            Tolerance());
}

TEST_P(PackedMatrixTest, ZeroRowsOfInputAndZeroWeights) {
  const auto matrix = Pack(std::vector<float>(40 * 20, 0.0f), 40, 20);
  for (float y : Multiply(*matrix, Random(80, 1), 2)) EXPECT_EQ(y, 0);
  const auto other = Pack(Random(800, 2), 40, 20);
  for (float y : Multiply(*other, std::vector<float>(80, 0.0f), 2)) EXPECT_EQ(y, 0);
}

INSTANTIATE_TEST_SUITE_P(All, PackedMatrixTest, testing::ValuesIn(AllCases()), [](const auto& info) {
  return std::string(CpuIsaName(info.param.isa)) + "_" + std::string(DTypeName(info.param.dtype));
});

TEST(PackedMatrix, RefusesWhatItCannotPack) {
  ThreadPool pool(1);
  const float weight = 1;
  const int8_t byte = 1;
  const auto message = [&](WeightSource source) {
    return std::string(PackedMatrix::Pack(source, DType::kF32, CpuIsa::kPortable, pool).status().message());
  };
  EXPECT_THAT(message({nullptr, SourceDType::kF32, WeightLayout::kInOut, 1, 1, nullptr}), testing::HasSubstr("without data"));
  EXPECT_THAT(message({&weight, SourceDType::kF32, WeightLayout::kInOut, 0, 1, nullptr}), testing::HasSubstr("0 inputs by 1"));
  EXPECT_THAT(message({&weight, SourceDType::kF32, WeightLayout::kInOut, 1, int64_t{1} << 40, nullptr}),
              testing::HasSubstr("must be in"));
  EXPECT_THAT(message({&byte, SourceDType::kI8, WeightLayout::kInOut, 1, 1, nullptr}), testing::HasSubstr("scale"));
}

TEST(PackedMatrix, HalfPrecisionSpecials) {
  ThreadPool pool(1);
  // Subnormal, smallest normal, largest, infinity, NaN, negative zero.
  const uint16_t half[] = {0x0001, 0x03ff, 0x0400, 0x7bff, 0x7c00, 0x7e01, 0x8000};
  WeightSource source = {half, SourceDType::kF16, WeightLayout::kInOut, 7, 1, nullptr};
  const auto matrix = *PackedMatrix::Pack(source, DType::kF32, CpuIsa::kPortable, pool);
  float row[7];
  matrix->CopyOutputRow(0, row);
  EXPECT_EQ(row[0], std::ldexp(1.0f, -24));
  EXPECT_EQ(row[1], std::ldexp(1023.0f, -24));
  EXPECT_EQ(row[2], std::ldexp(1.0f, -14));
  EXPECT_EQ(row[3], 65504.0f);
  EXPECT_TRUE(std::isinf(row[4]));
  EXPECT_TRUE(std::isnan(row[5]));
  EXPECT_EQ(row[6], 0.0f);
  EXPECT_TRUE(std::signbit(row[6]));
}

}  // namespace
}  // namespace precis::kernels
