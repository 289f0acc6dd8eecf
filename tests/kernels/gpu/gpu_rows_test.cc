#include "tests/kernels/gpu/gpu_ops_fixture.h"

namespace precis::kernels {
namespace {

class GpuRowsTest : public GpuOpsTest {};

TEST_F(GpuRowsTest, EmbedAddsThePositionsRow) {
  const int vocab = 11, places = 7, width = 52, rows = 5;
  const std::vector<int32_t> tokens = {3, 10, 0, 3, 7}, positions = {0, 6, 2, 1, 5};
  for (GpuType type : {GpuType::kF32, GpuType::kBf16, GpuType::kI8}) {
    for (bool with_positions : {true, false}) {
      std::vector<float> table = Random(vocab * width, type), place = Random(places * width, type);
      const std::vector<float> scale = Random(vocab, GpuType::kF32), place_scale = Random(places, GpuType::kF32);
      const auto put = [&](std::vector<float>& t) -> void* {
        if (type != GpuType::kI8) return PutAs(t, type);
        for (float& v : t) v = std::round(v * 30);
        return Put(std::vector<int8_t>(t.begin(), t.end()));
      };
      float* x = New<float>(rows * width);
      void* const table_on_device = put(table);
      void* const place_on_device = put(place);
      ops_.embed({.tokens = Put(tokens), .positions = Put(positions), .token_table = table_on_device, .position_table = with_positions ? place_on_device : nullptr,
                  .token_scale = type == GpuType::kI8 ? Put(scale) : nullptr, .position_scale = type == GpuType::kI8 ? Put(place_scale) : nullptr,
                  .table_type = type, .x = x, .rows = rows, .width = width}, Stream{});
      const std::vector<float> got = Get(x, rows * width, GpuType::kF32);
      for (int r = 0; r < rows; ++r) {
        for (int i = 0; i < width; ++i) {
          double want = table[tokens[r] * width + i] * (type == GpuType::kI8 ? double{scale[tokens[r]]} : 1.0);
          if (with_positions) want += place[positions[r] * width + i] * (type == GpuType::kI8 ? double{place_scale[positions[r]]} : 1.0);
          ASSERT_NEAR(got[r * width + i], want, 1e-6 * (1 + std::abs(want)));
        }
      }
    }
  }
}

struct NormCase {
  int width;
  GpuType type;
  bool delta, delta_bias, indexed;
  float offset;  // mean of x: large means must not cost precision
};

class GpuLayerNormTest : public GpuOpsTest, public testing::WithParamInterface<NormCase> {};

TEST_P(GpuLayerNormTest, MatchesFp64) {
  const NormCase c = GetParam();
  const int rows = 4, all = 6;
  const std::vector<int32_t> index = {5, 0, 3, 2};
  std::vector<float> x = Random(all * c.width, GpuType::kF32);
  for (float& v : x) v += c.offset;
  const std::vector<float> delta = Random(all * c.width, c.type), bias_of_delta = Random(c.width, GpuType::kF32);
  const std::vector<float> gain = Random(c.width, GpuType::kF32), bias = Random(c.width, GpuType::kF32);
  float* x_on_device = Put(x);
  void* y = PutAs(std::vector<float>(rows * c.width, NAN), c.type);
  ops_.layer_norm({.x = x_on_device, .delta = c.delta ? PutAs(delta, c.type) : nullptr, .delta_bias = c.delta_bias ? Put(bias_of_delta) : nullptr,
                   .gain = Put(gain), .bias = Put(bias), .row_index = c.indexed ? Put(index) : nullptr, .y = y, .type = c.type, .epsilon = 1e-5f, .rows = rows,
                   .width = c.width}, Stream{});
  const std::vector<float> got = Get(y, rows * c.width, c.type), x_after = Get(x_on_device, all * c.width, GpuType::kF32);
  for (int i = 0; i < rows; ++i) {
    const int r = c.indexed ? index[i] : i;
    std::vector<double> v(c.width);
    double mean = 0, variance = 0;
    for (int k = 0; k < c.width; ++k) {
      v[k] = double{x[r * c.width + k]} + (c.delta ? delta[r * c.width + k] : 0) + (c.delta && c.delta_bias ? bias_of_delta[k] : 0);
      ASSERT_NEAR(x_after[r * c.width + k], v[k], 3e-7 * (1 + std::abs(v[k])));
      mean += v[k] / c.width;
    }
    for (double a : v) variance += (a - mean) * (a - mean) / c.width;
    for (int k = 0; k < c.width; ++k) {
      const double want = (v[k] - mean) / std::sqrt(variance + 1e-5) * gain[k] + bias[k];
      const double allowed = (c.type == GpuType::kBf16 ? std::abs(want) / 256 : 0) + 2e-6 * (1 + std::abs(want)) * (1 + std::abs(c.offset));
      ASSERT_NEAR(got[i * c.width + k], want, allowed);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, GpuLayerNormTest,
                         testing::Values(NormCase{768, GpuType::kBf16, true, true, false, 0}, NormCase{768, GpuType::kBf16, false, false, true, 100},
                                         NormCase{100, GpuType::kF32, true, false, true, 3}, NormCase{1600, GpuType::kF32, false, false, false, 0},
                                         NormCase{16, GpuType::kBf16, true, true, true, 0}));

TEST_F(GpuRowsTest, MemoryIsLimitedAndCounted) {
  auto device = OpenSimtDevice({.memory_bytes = 1000});
  auto first = device->Allocate(600);
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(static_cast<uint8_t*>(*first)[599], 0xff);
  EXPECT_EQ(device->FreeBytes(), 400);
  const auto second = device->Allocate(401);
  EXPECT_EQ(second.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_NE(std::string(second.status().message()).find("401 bytes asked for, 400 of 1000 are free"), std::string::npos) << second.status();
  device->Free(*first);
  EXPECT_EQ(device->FreeBytes(), 1000);
}

}  // namespace
}  // namespace precis::kernels
