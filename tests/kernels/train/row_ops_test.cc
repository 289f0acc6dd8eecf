// Norms, activations, embeddings and the loss.
#include <cmath>
#include <string>
#include <vector>

#include "tests/kernels/train/train_ops_fixture.h"

namespace precis::kernels {
namespace {

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

}  // namespace
}  // namespace precis::kernels
