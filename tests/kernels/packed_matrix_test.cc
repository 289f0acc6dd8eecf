// Products of packed matrices against the fp64 oracle.
#include <cmath>
#include <cstring>
#include <random>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/kernels/packed_matrix_fixture.h"
#include "tests/oracle/oracle.h"

namespace precis::kernels {
namespace {

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

TEST_P(PackedMatrixTest, HeadSizedMatrix) {
  // As GPT-2's head, outputs no multiple of any panel.
  const int64_t in = 24, out = 50257;
  const auto matrix = Pack(Random(in * out, 12), in, out);
  const std::vector<float> x = Random(2 * in, 13);
  EXPECT_LT(Error(Multiply(*matrix, x, 2), oracle::Linear(Doubles(x), Doubles(Unpack(*matrix)), {}, 2, in, out)),
            Tolerance());
}

INSTANTIATE_TEST_SUITE_P(All, PackedMatrixTest, testing::ValuesIn(AllMatrixCases()), [](const auto& info) {
  return std::string(CpuIsaName(info.param.isa)) + "_" + std::string(DTypeName(info.param.dtype));
});

}  // namespace
}  // namespace precis::kernels
