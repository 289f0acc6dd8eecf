#ifndef PRECIS_TESTS_KERNELS_PACKED_MATRIX_FIXTURE_H_
#define PRECIS_TESTS_KERNELS_PACKED_MATRIX_FIXTURE_H_

#include <algorithm>
#include <cmath>
#include <memory>
#include <random>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/ops.h"
#include "tests/kernels/isas.h"

namespace precis::kernels {

// Every instruction set here by every type of weights.
struct MatrixCase {
  CpuIsa isa;
  DType dtype;
};

inline std::vector<MatrixCase> AllMatrixCases() {
  std::vector<MatrixCase> cases;
  for (CpuIsa isa : TestedIsas()) {
    for (DType dtype : {DType::kF32, DType::kBf16, DType::kI8}) cases.push_back({isa, dtype});
  }
  return cases;
}

inline std::vector<float> Random(size_t count, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

inline std::vector<double> Doubles(const std::vector<float>& x) { return {x.begin(), x.end()}; }

inline std::vector<float> Transpose(const std::vector<float>& x, int64_t rows, int64_t columns) {
  std::vector<float> result(x.size());
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < columns; ++c) result[c * rows + r] = x[r * columns + c];
  }
  return result;
}

class PackedMatrixTest : public testing::TestWithParam<MatrixCase> {
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

inline double Error(const std::vector<float>& y, const std::vector<double>& reference) {
  if (y.empty()) return 0;
  double worst = 0, largest = 0;
  for (size_t i = 0; i < y.size(); ++i) {
    if (!std::isfinite(y[i])) return INFINITY;
    worst = std::max(worst, std::abs(y[i] - reference[i]));
    largest = std::max(largest, std::abs(reference[i]));
  }
  return worst / largest;
}

}  // namespace precis::kernels

#endif  // PRECIS_TESTS_KERNELS_PACKED_MATRIX_FIXTURE_H_
