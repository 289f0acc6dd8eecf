// What packing makes of weights: layouts, source types, rounding, refusals.
#include <cmath>
#include <cstring>
#include <random>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/kernels/packed_matrix_fixture.h"
#include "tests/oracle/oracle.h"

namespace precis::kernels {
namespace {

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

TEST_P(PackedMatrixTest, ZeroRowsOfInputAndZeroWeights) {
  const auto matrix = Pack(std::vector<float>(40 * 20, 0.0f), 40, 20);
  for (float y : Multiply(*matrix, Random(80, 1), 2)) EXPECT_EQ(y, 0);
  const auto other = Pack(Random(800, 2), 40, 20);
  for (float y : Multiply(*other, std::vector<float>(80, 0.0f), 2)) EXPECT_EQ(y, 0);
}

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
