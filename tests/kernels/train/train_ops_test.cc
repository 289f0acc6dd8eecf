// Each operation's gradient against central differences of the operation's definition in f64, written out here. L = sum of c * f(inputs), c random: then dL/dinputs is
// what the backward operation gives for the output gradient c.
#include <cmath>
#include <functional>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/attention.h"
#include "kernels/train_device.h"

namespace precis::kernels {
namespace {

using Doubles = std::vector<double>;
using Floats = std::vector<float>;

Floats Random(size_t count, uint32_t seed, float scale = 1) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, scale);
  Floats values(count);
  for (float& x : values) x = normal(random);
  return values;
}

// dL/dx of L = sum c * f(x), by central differences.
Doubles Differences(const std::function<Doubles(const Doubles&)>& f, const Floats& at, const Floats& c) {
  const Doubles x(at.begin(), at.end());
  const auto loss = [&](const Doubles& values) {
    const Doubles y = f(values);
    EXPECT_EQ(y.size(), c.size());
    double sum = 0;
    for (size_t i = 0; i < y.size(); ++i) sum += c[i] * y[i];
    return sum;
  };
  Doubles gradient(x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    const double step = 1e-5 * std::max(1.0, std::abs(x[i]));
    Doubles more = x, less = x;
    more[i] += step, less[i] -= step;
    gradient[i] = (loss(more) - loss(less)) / (2 * step);
  }
  return gradient;
}

void ExpectNear(const Floats& got, const Doubles& want, double tolerance, const std::string& what) {
  ASSERT_EQ(got.size(), want.size()) << what;
  double largest = 1e-30;
  for (double x : want) largest = std::max(largest, std::abs(x));
  for (size_t i = 0; i < got.size(); ++i) ASSERT_NEAR(got[i], want[i], tolerance * largest) << what << " " << i;
}

struct DeviceKind {
  std::string name;
  CpuIsa isa = CpuIsa::kPortable;
  bool simt = false;
};

std::vector<DeviceKind> Kinds() {
  std::vector<DeviceKind> kinds;
  for (CpuIsa isa : SupportedCpuIsas()) kinds.push_back({std::string(CpuIsaName(isa)), isa, false});
  kinds.push_back({"simt", CpuIsa::kPortable, true});
  return kinds;
}

class TrainOpsTest : public testing::TestWithParam<DeviceKind> {
 protected:
  TrainOpsTest() {
    if (GetParam().simt) {
      device_ = *OpenGpuTrainDevice(OpenSimtDevice({.memory_bytes = int64_t{1} << 28}));
    } else {
      device_ = OpenCpuTrainDevice(GetParam().isa, 3);
    }
  }

  template <class Number>
  Number* Put(const std::vector<Number>& values) {
    void* memory = *device_->Allocate(static_cast<int64_t>(values.size() * sizeof(Number)));
    device_->Upload(memory, values.data(), static_cast<int64_t>(values.size() * sizeof(Number)));
    return static_cast<Number*>(memory);
  }
  float* Zeros(size_t count) { return Put(Floats(count, 0.0f)); }
  Floats Get(const float* memory, size_t count) {
    Floats values(count);
    const absl::Status status = device_->Download(values.data(), memory, static_cast<int64_t>(count * 4));
    EXPECT_TRUE(status.ok()) << status;
    return values;
  }

  std::unique_ptr<TrainDevice> device_;
};

// ---------------------------------------------------------------- products

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

// ---------------------------------------------------------------- norms, activations

Doubles Norm(const Doubles& x, const Doubles& gain, const Doubles& bias, int rows, int width, double epsilon) {
  Doubles y(x.size());
  for (int r = 0; r < rows; ++r) {
    double mean = 0, variance = 0;
    for (int i = 0; i < width; ++i) mean += x[r * width + i] / width;
    for (int i = 0; i < width; ++i) variance += (x[r * width + i] - mean) * (x[r * width + i] - mean) / width;
    for (int i = 0; i < width; ++i) y[r * width + i] = (x[r * width + i] - mean) / std::sqrt(variance + epsilon) * gain[i] + bias[i];
  }
  return y;
}

TEST_P(TrainOpsTest, LayerNorm) {
  for (const int width : {32, 52}) {
    constexpr int kRows = 3;
    constexpr float kEpsilon = 1e-3f;
    const Floats x = Random(kRows * width, 1), gain = Random(width, 2), bias = Random(width, 3), c = Random(kRows * width, 4), delta = Random(kRows * width, 6);
    const Floats dx_before = Random(kRows * width, 5);
    const auto wide = [](const Floats& v) { return Doubles(v.begin(), v.end()); };
    // Forward, with a residual.
    float *sum = Zeros(x.size()), *y = Zeros(x.size());
    device_->ResidualNorm({.x = Put(x), .delta = Put(delta), .sum = sum, .gain = Put(gain), .bias = Put(bias), .y = y, .epsilon = kEpsilon, .rows = kRows, .width = width});
    Doubles summed = wide(x);
    for (size_t i = 0; i < summed.size(); ++i) summed[i] += delta[i];
    ExpectNear(Get(sum, x.size()), summed, 1e-6, "sum");
    ExpectNear(Get(y, x.size()), Norm(summed, wide(gain), wide(bias), kRows, width, kEpsilon), 1e-5, "norm");
    // Backward.
    float *dx = Put(dx_before), *dgain = Zeros(width), *dbias = Zeros(width);
    device_->LayerNormBackward({.x = Put(x), .dy = Put(c), .gain = Put(gain), .dx = dx, .gain_gradient = dgain, .bias_gradient = dbias, .type = GpuType::kF32,
                                .epsilon = kEpsilon, .rows = kRows, .width = width});
    Doubles want = Differences([&](const Doubles& v) { return Norm(v, wide(gain), wide(bias), kRows, width, kEpsilon); }, x, c);
    for (size_t i = 0; i < want.size(); ++i) want[i] += dx_before[i];
    ExpectNear(Get(dx, x.size()), want, 2e-5, "dx");
    ExpectNear(Get(dgain, width), Differences([&](const Doubles& v) { return Norm(wide(x), v, wide(bias), kRows, width, kEpsilon); }, gain, c), 2e-5, "gain");
    ExpectNear(Get(dbias, width), Differences([&](const Doubles& v) { return Norm(wide(x), wide(gain), v, kRows, width, kEpsilon); }, bias, c), 2e-5, "bias");
  }
}

double Activation(double x, GpuActivation a) {
  switch (a) {
    case GpuActivation::kNone: return x;
    case GpuActivation::kGeluTanh: return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case GpuActivation::kGeluErf: return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0)));
    case GpuActivation::kRelu: return x > 0 ? x : 0;
    case GpuActivation::kSilu: return x / (1 + std::exp(-x));
    case GpuActivation::kQuickGelu: return x / (1 + std::exp(-1.702 * x));
  }
  return 0;
}

TEST_P(TrainOpsTest, Activations) {
  for (int a = 0; a <= static_cast<int>(GpuActivation::kQuickGelu); ++a) {
    const auto activation = static_cast<GpuActivation>(a);
    Floats x = Random(517, 1, 3);
    x[5] = 30, x[6] = -30, x[7] = 1e-3f, x[8] = -1e-3f;
    const Floats c = Random(x.size(), 2);
    float *y = Zeros(x.size()), *dx = Put(c);
    device_->Activate({.x = Put(x), .y = y, .type = GpuType::kF32, .activation = activation, .count = static_cast<int64_t>(x.size())});
    device_->ActivationBackward({.x = Put(x), .dy = dx, .dx = dx, .type = GpuType::kF32, .activation = activation, .count = static_cast<int64_t>(x.size())});
    const auto f = [&](const Doubles& v) {
      Doubles result(v.size());
      for (size_t i = 0; i < v.size(); ++i) result[i] = Activation(v[i], activation);
      return result;
    };
    ExpectNear(Get(y, x.size()), f({x.begin(), x.end()}), 1e-6, "y");
    ExpectNear(Get(dx, x.size()), Differences(f, x, c), 3e-6, "dx of activation " + std::to_string(a));
  }
}

TEST_P(TrainOpsTest, Bias) {
  constexpr int kRows = 150, kWidth = 40, kStride = 48;
  const Floats dy = Random(kRows * kStride, 1), before = Random(kWidth, 2);
  float* gradient = Put(before);
  device_->BiasBackward({.dy = Put(dy), .stride = kStride, .bias_gradient = gradient, .type = GpuType::kF32, .rows = kRows, .width = kWidth});
  Doubles want(before.begin(), before.end());
  for (int r = 0; r < kRows; ++r) {
    for (int i = 0; i < kWidth; ++i) want[i] += dy[r * kStride + i];
  }
  ExpectNear(Get(gradient, kWidth), want, 1e-6, "bias");
}

// ---------------------------------------------------------------- embeddings, loss

TEST_P(TrainOpsTest, Embeddings) {
  constexpr int kRows = 6, kWidth = 32, kTokens = 9, kPositions = 4;
  const std::vector<int32_t> tokens = {3, 8, 3, 0, 3, 8}, positions = {0, 1, 2, 0, 1, 3};
  const Floats table = Random(kTokens * kWidth, 1), places = Random(kPositions * kWidth, 2), c = Random(kRows * kWidth, 3);
  float* x = Zeros(kRows * kWidth);
  device_->Embed({.tokens = Put(tokens), .positions = Put(positions), .token_table = Put(table), .position_table = Put(places), .table_type = GpuType::kF32,
                  .x = x, .rows = kRows, .width = kWidth});
  const auto f = [&](const Doubles& v) {
    Doubles y(kRows * kWidth);
    for (int r = 0; r < kRows; ++r) {
      for (int i = 0; i < kWidth; ++i) y[r * kWidth + i] = v[tokens[r] * kWidth + i] + places[positions[r] * kWidth + i];
    }
    return y;
  };
  ExpectNear(Get(x, kRows * kWidth), f({table.begin(), table.end()}), 1e-6, "x");
  float* gradient = Zeros(table.size());
  device_->EmbeddingBackward({.dx = Put(c), .rows = Put(std::vector<int32_t>{3, 0, 2, 4, 1, 5}), .group_end = Put(std::vector<int32_t>{1, 4, 6}),
                              .group_id = Put(std::vector<int32_t>{0, 3, 8}), .table_gradient = gradient, .groups = 3, .width = kWidth});
  ExpectNear(Get(gradient, table.size()), Differences(f, table, c), 1e-6, "table");
}

TEST_P(TrainOpsTest, CrossEntropy) {
  for (const int vocab : {5, 61}) {
    constexpr int kRows = 4;
    const int stride = (vocab + 7) / 8 * 8;
    const Floats logits = Random(kRows * stride, 1, 3), weights = {1, 0.5f, 2, 0};
    const std::vector<int32_t> targets = {0, vocab - 1, -1, 2};
    float *memory = Put(logits), *loss = Zeros(kRows);
    device_->CrossEntropy({.logits = memory, .stride = stride, .targets = Put(targets), .weights = Put(weights), .loss = loss, .gradient_scale = 0.25f,
                           .type = GpuType::kF32, .rows = kRows, .vocab = vocab});
    const auto f = [&](const Doubles& v) {
      Doubles losses(kRows, 0.0);
      for (int r = 0; r < kRows; ++r) {
        double sum = 0;
        for (int j = 0; j < vocab; ++j) sum += std::exp(v[r * stride + j]);
        if (targets[r] >= 0) losses[r] = weights[r] * (std::log(sum) - v[r * stride + targets[r]]);
      }
      return losses;
    };
    ExpectNear(Get(loss, kRows), f({logits.begin(), logits.end()}), 1e-6, "loss");
    const Floats got = Get(memory, logits.size());
    const Doubles want = Differences(f, logits, Floats(kRows, 0.25f));
    for (int r = 0; r < kRows; ++r) {
      for (int j = 0; j < vocab; ++j) ASSERT_NEAR(got[r * stride + j], want[r * stride + j], 1e-6) << r << " " << j;
    }
  }
}

// ---------------------------------------------------------------- attention

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

// ---------------------------------------------------------------- dropout, the optimiser

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
