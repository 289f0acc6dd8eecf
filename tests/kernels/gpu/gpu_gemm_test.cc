#include "tests/kernels/gpu/gpu_ops_fixture.h"

namespace precis::kernels {
namespace {

double Activated(double x, GpuActivation a) {
  switch (a) {
    case GpuActivation::kNone: return x;
    case GpuActivation::kGeluTanh: return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case GpuActivation::kGeluErf: return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0)));
    case GpuActivation::kRelu: return x < 0 ? 0 : x;
    case GpuActivation::kSilu: return x / (1 + std::exp(-x));
    case GpuActivation::kQuickGelu: return x / (1 + std::exp(-1.702 * x));
  }
  return x;
}

struct GemmCase {
  int m, n, k;
  GpuType x = GpuType::kBf16, w = GpuType::kBf16, y = GpuType::kF32;
  GpuActivation activation = GpuActivation::kNone;
  bool bias = true;
  bool accumulate = false;
  int x_pad = 8, y_pad = 3;  // between rows
};

// Of Ampere's kernels (8) and Hopper's (9).
class GpuGemmTest : public GpuOpsTest, public testing::WithParamInterface<int> {
 protected:
  GpuGemmTest() : GpuOpsTest(GetParam()) {}

  struct Data {
    std::vector<float> x, w, bias, scale, y;  // w before the scale
  };

  Data MakeData(const GemmCase& c) {
    Data d;
    d.x = Random(static_cast<size_t>(c.m) * (c.k + c.x_pad), c.x);
    d.w = Random(static_cast<size_t>(c.n) * c.k, c.w == GpuType::kI8 ? GpuType::kF32 : c.w, c.w == GpuType::kI8 ? 40 : 1);
    if (c.w == GpuType::kI8) {
      for (float& v : d.w) v = std::round(std::min(127.0f, std::max(-127.0f, v)));
    }
    for (int m = 0; m < c.m; ++m) {  // what lies between rows must not be read
      for (int i = 0; i < c.x_pad; ++i) d.x[static_cast<size_t>(m) * (c.k + c.x_pad) + c.k + i] = NAN;
    }
    d.bias = Random(c.n, GpuType::kF32);
    d.scale = Random(c.n, GpuType::kF32, 0.02f);
    d.y = Random(static_cast<size_t>(c.m) * (c.n + c.y_pad), c.y);
    return d;
  }

  std::vector<float> Run(const GemmCase& c, const Data& d) {
    void* w;
    if (c.w == GpuType::kI8) {
      w = Put(std::vector<int8_t>(d.w.begin(), d.w.end()));
    } else {
      w = PutAs(d.w, c.w);
    }
    void* y = PutAs(d.y, c.y);
    ops_.gemm({.x = PutAs(d.x, c.x), .x_stride = c.k + c.x_pad, .w = w, .w_scale = c.w == GpuType::kI8 ? Put(d.scale) : nullptr,
               .bias = c.bias ? Put(d.bias) : nullptr, .y = y, .y_stride = c.n + c.y_pad, .m = c.m, .n = c.n, .k = c.k, .x_type = c.x, .w_type = c.w, .y_type = c.y,
               .activation = c.activation, .accumulate = c.accumulate, .mode = GemmMode::kInvariant, .workspace = nullptr, .workspace_bytes = 0}, Stream{});
    EXPECT_TRUE(device_->Synchronize(Stream{}).ok()) << device_->Synchronize(Stream{});
    return Get(y, d.y.size(), c.y);
  }

  // Against fp64: f32 accumulation's error, and the rounding of the result.
  void ExpectGemm(const GemmCase& c) {
    SCOPED_TRACE(testing::Message() << c.m << " x " << c.n << " x " << c.k << " types " << int(c.x) << int(c.w) << int(c.y) << " activation " << int(c.activation));
    const Data d = MakeData(c);
    const std::vector<float> y = Run(c, d);
    for (int m = 0; m < c.m; ++m) {
      for (int n = 0; n < c.n + c.y_pad; ++n) {
        const size_t at = static_cast<size_t>(m) * (c.n + c.y_pad) + n;
        if (n >= c.n) {
          ASSERT_EQ(y[at], d.y[at]) << "written between rows";
          continue;
        }
        double sum = 0, size = 0;
        for (int k = 0; k < c.k; ++k) {
          const double product = double{d.x[static_cast<size_t>(m) * (c.k + c.x_pad) + k]} * d.w[static_cast<size_t>(n) * c.k + k];
          sum += product;
          size += std::abs(product);
        }
        if (c.w == GpuType::kI8) {
          sum *= d.scale[n];
          size *= std::abs(d.scale[n]);
        }
        double want = Activated(sum + (c.bias ? d.bias[n] : 0), c.activation);
        if (c.accumulate) want += d.y[at];
        const double allowed = 1e-6 * (size + 1) + (c.y == GpuType::kBf16 ? std::abs(want) / 256 : std::abs(want) * 1e-6);
        ASSERT_NEAR(y[at], want, allowed) << m << " " << n;
      }
    }
  }
};

TEST_P(GpuGemmTest, EveryShapeOfTile) {
  for (int m : {1, 8, 9, 16, 17, 32, 33, 64, 65}) ExpectGemm({.m = m, .n = 37, .k = 264});
  ExpectGemm({.m = 3, .n = 100, .k = 1160});       // more splits than warps, shared by them unevenly
  ExpectGemm({.m = 130, .n = 72, .k = 136});
  ExpectGemm({.m = 300, .n = 145, .k = 200, .accumulate = true});  // an odd width: pairs of columns are not aligned
  ExpectGemm({.m = 300, .n = 64, .k = 64, .bias = false, .y_pad = 0});
}

TEST_P(GpuGemmTest, ManyTilesAndWideHeads) {
  ExpectGemm({.m = 2, .n = 8200, .k = 32});       // wide: 32 columns a block
  ExpectGemm({.m = 1281, .n = 1154, .k = 8, .y = GpuType::kBf16});  // 128 x 128 tiles
}

TEST_P(GpuGemmTest, Int8Weights) {
  for (int m : {1, 12, 20, 40}) ExpectGemm({.m = m, .n = 41, .k = 208, .w = GpuType::kI8});
  ExpectGemm({.m = 5, .n = 20, .k = 40, .w = GpuType::kI8});  // rows not 16-byte aligned
}

TEST_P(GpuGemmTest, Epilogues) {
  using enum GpuActivation;
  for (auto a : {kNone, kGeluTanh, kGeluErf, kRelu, kSilu, kQuickGelu}) {
    ExpectGemm({.m = 4, .n = 24, .k = 64, .y = GpuType::kBf16, .activation = a});
    ExpectGemm({.m = 20, .n = 24, .k = 64, .activation = a, .bias = false, .accumulate = true});
    ExpectGemm({.m = 70, .n = 30, .k = 64, .y = GpuType::kBf16, .activation = a, .y_pad = 2});
  }
}

TEST_P(GpuGemmTest, OtherTypesAndSizes) {
  ExpectGemm({.m = 19, .n = 21, .k = 33, .x = GpuType::kF32, .w = GpuType::kF32, .accumulate = true, .x_pad = 1});
  ExpectGemm({.m = 7, .n = 18, .k = 50, .x = GpuType::kF32, .w = GpuType::kI8});
  ExpectGemm({.m = 7, .n = 18, .k = 50, .y = GpuType::kBf16, .x_pad = 1});  // k no multiple of 8
  ExpectGemm({.m = 0, .n = 18, .k = 64});
}

// A row's bits are the same whatever the number of rows, and so whatever the kernel and the tile.
TEST_P(GpuGemmTest, RowsDoNotDependOnTheBatch) {
  for (GpuType w : {GpuType::kBf16, GpuType::kI8}) {
    const GemmCase all = {.m = 70, .n = 72, .k = 400, .w = w, .y_pad = 0};
    const Data d = MakeData(all);
    const std::vector<float> y = Run(all, d);
    for (int m : {1, 7, 16, 30, 64}) {
      for (int first : {0, 70 - m}) {
        GemmCase part = all;
        part.m = m;
        Data p = d;
        p.x.assign(d.x.begin() + first * (all.k + all.x_pad), d.x.begin() + (first + m) * (all.k + all.x_pad));
        p.y.resize(static_cast<size_t>(m) * all.n);
        const std::vector<float> got = Run(part, p);
        ASSERT_EQ(0, std::memcmp(got.data(), y.data() + static_cast<size_t>(first) * all.n, got.size() * 4)) << m << " rows from " << first;
      }
    }
  }
}

// One launch gives what layer_norm and gemm give, bit for bit.
TEST_P(GpuGemmTest, FusedNormGivesTheBitsOfTheTwo) {
  for (const int k : {64, 208, 1008}) {
    for (const GpuType w_type : {GpuType::kBf16, GpuType::kI8}) {
      const GemmCase c = {.m = 5, .n = 44, .k = k, .w = w_type, .x_pad = 0, .y_pad = 0};
      const Data d = MakeData(c);
      float* x = Put(Random(static_cast<size_t>(c.m) * k, GpuType::kF32, 2));
      const float* gain = Put(Random(k, GpuType::kF32));
      const float* bias = Put(Random(k, GpuType::kF32));
      void* normed = New<uint16_t>(static_cast<size_t>(c.m) * k);
      float* two = New<float>(d.y.size());
      float* one = New<float>(d.y.size());
      GemmArgs args = {.x = normed, .x_stride = k, .w = w_type == GpuType::kI8 ? Put(std::vector<int8_t>(d.w.begin(), d.w.end())) : PutAs(d.w, w_type),
                       .w_scale = Put(d.scale), .bias = Put(d.bias), .y = two, .y_stride = c.n, .m = c.m, .n = c.n, .k = k, .x_type = GpuType::kBf16,
                       .w_type = w_type, .y_type = GpuType::kF32, .activation = GpuActivation::kGeluTanh, .accumulate = false, .mode = GemmMode::kInvariant,
                       .workspace = nullptr, .workspace_bytes = 0};
      ops_.layer_norm({.x = x, .delta = nullptr, .delta_bias = nullptr, .gain = gain, .bias = bias, .row_index = nullptr, .y = normed, .type = GpuType::kBf16,
                       .epsilon = 1e-5f, .rows = c.m, .width = k}, Stream{});
      ops_.gemm(args, Stream{});
      args.x = x, args.x_type = GpuType::kF32, args.norm_gain = gain, args.norm_bias = bias, args.norm_epsilon = 1e-5f, args.y = one;
      ASSERT_TRUE(ops_.fused_norm_gemm_takes(args));
      ops_.fused_norm_gemm(args, Stream{});
      ASSERT_TRUE(device_->Synchronize(Stream{}).ok()) << device_->Synchronize(Stream{});
      EXPECT_EQ(Get(one, d.y.size(), GpuType::kF32), Get(two, d.y.size(), GpuType::kF32)) << k;
    }
  }
}

// The shape of 128 x 128 tiles against the decode kernel.
TEST_P(GpuGemmTest, LargeTilesGiveTheSameBits) {
  const GemmCase all = {.m = 1152, .n = 1154, .k = 136, .y_pad = 0};
  const Data d = MakeData(all);
  const std::vector<float> y = Run(all, d);
  GemmCase part = all;
  part.m = 3;
  Data p = d;
  p.x.assign(d.x.begin() + 500 * (all.k + all.x_pad), d.x.begin() + 503 * (all.k + all.x_pad));
  p.y.resize(static_cast<size_t>(3) * all.n);
  const std::vector<float> got = Run(part, p);
  EXPECT_EQ(0, std::memcmp(got.data(), y.data() + static_cast<size_t>(500) * all.n, got.size() * 4));
}

INSTANTIATE_TEST_SUITE_P(Devices, GpuGemmTest, testing::Values(8, 9));

}  // namespace
}  // namespace precis::kernels
