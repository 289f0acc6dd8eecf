// Products, dropout and the optimiser.
#include <cmath>
#include <limits>
#include <vector>

#include "tests/kernels/train/train_ops_fixture.h"

namespace precis::kernels {
namespace {

TEST_P(TrainOpsTest, ProductsOfEveryFormAndShape) {
  struct Shape {
    int m, n, k;
  };
  for (const Shape& s : {Shape{1, 1, 1}, Shape{5, 33, 7}, Shape{200, 18, 40}, Shape{13, 64, 1100}, Shape{67, 70, 96}}) {
    for (const bool a_transposed : {false, true}) {
      for (const bool b_transposed : {false, true}) {
        for (const bool accumulate : {false, true}) {
          const int64_t a_stride = (a_transposed ? s.m : s.k) + (b_transposed ? 0 : 5), b_stride = b_transposed ? s.k : s.n + 3, c_stride = s.n + 2;
          const Floats a = Random(a_stride * (a_transposed ? s.k : s.m), 1), b = Random(b_stride * (b_transposed ? s.n : s.k), 2);
          const Floats bias = Random(s.n, 3), before = Random(c_stride * s.m, 4);
          float* c = Put(before);
          device_->Product({.a = Put(a), .a_stride = a_stride, .a_transposed = a_transposed, .b = Put(b), .b_stride = b_stride, .b_transposed = b_transposed,
                            .c = c, .c_stride = c_stride, .accumulate = accumulate, .bias = accumulate ? nullptr : Put(bias), .m = s.m, .n = s.n, .k = s.k});
          const Floats got = Get(c, before.size());
          for (int i = 0; i < s.m; ++i) {
            for (int j = 0; j < c_stride; ++j) {
              double want = before[i * c_stride + j], size = 1;
              if (j < s.n) {
                want = accumulate ? want : bias[j];
                for (int k = 0; k < s.k; ++k) {
                  const double term = double{a_transposed ? a[k * a_stride + i] : a[i * a_stride + k]} * (b_transposed ? b[j * b_stride + k] : b[k * b_stride + j]);
                  want += term;
                  size += std::abs(term);
                }
              }
              ASSERT_NEAR(got[i * c_stride + j], want, 1e-6 * size) << s.m << "x" << s.n << "x" << s.k << " " << a_transposed << b_transposed << accumulate;
            }
          }
        }
      }
    }
  }
}

TEST_P(TrainOpsTest, DropoutIsItsOwnGradientAndKeepsTheMean) {
  const size_t count = 20003;
  const Floats ones(count, 1.0f);
  float *x = Put(ones), *y = Zeros(count), *converted = Zeros(count);
  device_->Dropout({.x = x, .y = y, .type = GpuType::kF32, .seed = 5, .stream = 9, .rate = 0.25f, .count = static_cast<int64_t>(count)});
  device_->Convert({.x = x, .y = converted, .type = GpuType::kF32, .seed = 5, .stream = 9, .rate = 0.25f, .count = static_cast<int64_t>(count)});
  const Floats got = Get(y, count);
  EXPECT_EQ(got, Get(converted, count));
  double mean = 0;
  for (float v : got) {
    ASSERT_TRUE(v == 0 || std::abs(v - 4.0f / 3) < 1e-6);
    mean += v / static_cast<double>(count);
  }
  EXPECT_NEAR(mean, 1, 0.02);
  const auto cpu = OpenCpuTrainDevice(CpuIsa::kPortable, 1);
  Floats same(count);
  cpu->Dropout({.x = ones.data(), .y = same.data(), .type = GpuType::kF32, .seed = 5, .stream = 9, .rate = 0.25f, .count = static_cast<int64_t>(count)});
  EXPECT_EQ(got, same) << "every device draws the same masks";
}

TEST_P(TrainOpsTest, AdamWNormAndClipping) {
  const size_t count = 70001;
  const Floats weights = Random(count, 1), gradient = Random(count, 2), first = Random(count, 3, 0.1f);
  Floats second = Random(count, 4, 0.1f);
  for (float& v : second) v = v * v;
  double squared = 0;
  for (float g : gradient) squared += double{g} * g;
  double* sum = Put(std::vector<double>{0});
  float* scale = Zeros(1);
  int32_t* finite = Put(std::vector<int32_t>{7});
  float* g = Put(gradient);
  device_->SquaredNorm({.values = g, .count = static_cast<int64_t>(count), .sum = sum, .workspace = nullptr});
  device_->ClipScale({.squared_norm = sum, .base = 1, .max_norm = 2, .scale = scale, .finite = finite});
  const double factor = 2 / std::sqrt(squared);
  EXPECT_NEAR(Get(scale, 1)[0], factor, 1e-6 * factor);
  float *w = Put(weights), *m = Put(first), *v = Put(second);
  device_->AdamW({.weights = w, .working = nullptr, .gradient = g, .first = m, .second = v, .gradient_scale = scale, .rate = 0.01f, .beta1 = 0.9f, .beta2 = 0.95f,
                  .epsilon = 1e-8f, .decay = 0.1f, .step = 3, .count = static_cast<int64_t>(count)});
  Doubles want_w(count), want_m(count), want_v(count);
  for (size_t i = 0; i < count; ++i) {
    const double scaled = gradient[i] * factor;
    want_m[i] = 0.9 * first[i] + 0.1 * scaled;
    want_v[i] = 0.95 * second[i] + 0.05 * scaled * scaled;
    const double step = want_m[i] / (1 - std::pow(0.9, 3)) / (std::sqrt(want_v[i] / (1 - std::pow(0.95, 3))) + 1e-8);
    want_w[i] = weights[i] - 0.01 * (step + 0.1 * weights[i]);
  }
  ExpectNear(Get(m, count), want_m, 1e-6, "first");
  ExpectNear(Get(v, count), want_v, 1e-6, "second");
  ExpectNear(Get(w, count), want_w, 1e-5, "weights");
  // What is not finite is noticed.
  Floats bad = gradient;
  bad[count - 1] = std::numeric_limits<float>::infinity();
  double* other = Put(std::vector<double>{0});
  device_->SquaredNorm({.values = Put(bad), .count = static_cast<int64_t>(count), .sum = other, .workspace = nullptr});
  device_->ClipScale({.squared_norm = other, .base = 1, .max_norm = 2, .scale = scale, .finite = finite});
  EXPECT_EQ(Get(scale, 1)[0], 0);
  int32_t flag = 7;
  ASSERT_TRUE(device_->Download(&flag, finite, 4).ok());
  EXPECT_EQ(flag, 0);
}

INSTANTIATE_TEST_SUITE_P(All, TrainOpsTest, testing::ValuesIn(Kinds()), [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace precis::kernels
