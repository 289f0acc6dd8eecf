// The trainer on the SIMT device, which runs the GPU's kernels, follows the CPU: gradients and a few steps, f32 and bf16.
#include <cmath>

#include "kernels/gpu/gpu_device.h"
#include "tests/runtime/training/training_golden.h"

namespace precis::test {
namespace {

using nlohmann::json;
using runtime::Batch;
using runtime::TrainModel;

constexpr int kSteps = 3;

json Config(bool alibi) {
  json config = TrainingGolden("alibi")["config"];
  config["alibi"] = alibi;
  config["n_layer"] = 2;
  config["n_embd"] = 64;  // heads of 32, which the GPU's attention takes
  return config;
}

struct Outcome {
  std::vector<float> gradients, weights;
  std::vector<double> losses;
};

Outcome Train(const json& config, const runtime::TrainModelOptions& options, kernels::TrainDevice* device) {
  Outcome run;
  const auto model = GoldenModel(config, options, device);
  const Batch batch = PackedBatch(TrainingGolden("alibi")["documents"], 1, 2);
  for (int step = 1; step <= kSteps; ++step) {
    model->ClearGradients();
    const auto loss = model->Accumulate(batch, static_cast<float>(1 / batch.weight()), static_cast<uint64_t>(step));
    EXPECT_TRUE(loss.ok()) << loss.status();
    if (!loss.ok()) return run;
    run.losses.push_back(loss->weighted / batch.weight());
    if (step == 1) {
      EXPECT_TRUE(model->GetGradients(&run.gradients).ok());
    }
    EXPECT_TRUE(model->Update({.rate = 1e-3f, .step = step}).ok());
  }
  EXPECT_TRUE(model->GetState(&run.weights, nullptr, nullptr).ok());
  return run;
}

double RelativeDistance(const std::vector<float>& a, const std::vector<float>& b) {
  double difference = 0, norm = 0;
  EXPECT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    difference += (double{a[i]} - b[i]) * (double{a[i]} - b[i]);
    norm += double{b[i]} * b[i];
  }
  return std::sqrt(difference / norm);
}

struct Case {
  const char* name;
  bool alibi, bf16;
  float dropout;
  double loss, gradient;  // limits
  bool materialised = false;
};

class SimtTest : public testing::TestWithParam<Case> {};

TEST_P(SimtTest, FollowsTheCpu) {
  const Case& c = GetParam();
  const runtime::TrainModelOptions options = {.bf16 = c.bf16, .materialised = c.materialised, .dropout = c.dropout, .dropout_seed = 11};
  const auto cpu = kernels::OpenCpuTrainDevice(kernels::BestCpuIsa(), 2);
  auto simt = kernels::OpenGpuTrainDevice(kernels::OpenSimtDevice({.memory_bytes = int64_t{2} << 30}));
  ASSERT_TRUE(simt.ok()) << simt.status();
  const Outcome want = Train(Config(c.alibi), options, cpu.get()), got = Train(Config(c.alibi), options, simt->get());
  ASSERT_EQ(got.losses.size(), want.losses.size());
  for (int step = 0; step < kSteps; ++step) EXPECT_NEAR(got.losses[step], want.losses[step], c.loss) << step;
  EXPECT_LE(RelativeDistance(got.gradients, want.gradients), c.gradient);
  EXPECT_LT(want.losses.back(), want.losses.front());
}

INSTANTIATE_TEST_SUITE_P(All, SimtTest,
                         testing::Values(Case{"learned_f32", false, false, 0, 2e-5, 1e-5}, Case{"alibi_f32_dropout", true, false, 0.2f, 2e-5, 1e-5},
                                         Case{"alibi_bf16", true, true, 0, 0.02, 0.03},
                                         Case{"standard_alibi_f32", true, false, 0, 2e-5, 1e-5, true}, Case{"standard_bf16", false, true, 0, 0.02, 0.03, true}),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace precis::test
