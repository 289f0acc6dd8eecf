// The whole model's gradients against PyTorch's autograd in float64, and 200 steps against torch.optim.AdamW (tests/golden/make_training_golden.py); what must not
// change the numbers: threads, packing, recomputation, the way of attention.
#include <cmath>
#include <random>

#include "gtest/gtest.h"
#include "runtime/training/schedule.h"
#include "tests/runtime/training/training_golden.h"

namespace precis::test {
namespace {

using kernels::CpuIsa;
using nlohmann::json;
using runtime::Batch;
using runtime::TrainModel;
using runtime::TrainModelOptions;

constexpr const char* kNames[] = {"learned", "alibi", "untied_relu_unscaled", "alibi_erf_by_layer"};

struct Gradients {
  double loss = 0;
  std::vector<float> values;
};

Gradients GradientsOf(TrainModel& model, const Batch& batch, uint64_t use = 0) {
  Gradients result;
  model.ClearGradients();
  auto loss = model.Accumulate(batch, static_cast<float>(1 / batch.weight()), use);
  EXPECT_TRUE(loss.ok()) << loss.status();
  result.loss = loss->weighted / batch.weight();
  EXPECT_TRUE(model.GetGradients(&result.values).ok());
  return result;
}

double LargestDifference(const std::vector<float>& a, const std::vector<float>& b) {
  double largest = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double difference = std::abs(static_cast<double>(a[i]) - b[i]);
    if (!(difference <= largest)) largest = difference;  // NaN stays
  }
  return largest;
}

double Distance(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += (static_cast<double>(a[i]) - b[i]) * (static_cast<double>(a[i]) - b[i]);
  return std::sqrt(sum);
}

class GoldenTest : public testing::TestWithParam<std::tuple<const char*, CpuIsa>> {
 protected:
  json golden_ = TrainingGolden(std::get<0>(GetParam()));
  std::unique_ptr<kernels::TrainDevice> device_ = kernels::OpenCpuTrainDevice(std::get<1>(GetParam()), 2);

  // Each tensor against autograd: the largest difference relative to the largest element, or the norm of the difference to the norm.
  void ExpectGolden(const runtime::ParameterTable& table, const std::vector<float>& gradients, double tolerance, bool by_norm) {
    const std::string bytes = ReadFile(std::string(PRECIS_SOURCE_DIR) + "/tests/golden/training/" + std::get<0>(GetParam()) + ".gradients");
    int64_t at = 0;
    for (const FileTensor& tensor : SyntheticTensors({.config = golden_["config"], .prefix = false})) {
      const runtime::Parameter& p = table.Find(tensor.name);
      std::vector<float> file(p.count()), want(p.count());
      std::memcpy(file.data(), bytes.data() + at * 4, p.count() * 4);
      at += p.count();
      runtime::Parameter shape = p;
      FileToMemory(shape, file.data(), want.data());
      const std::vector<float> got(gradients.begin() + p.offset, gradients.begin() + p.offset + p.count()), zeros(want.size(), 0.0f);
      const auto size = by_norm ? Distance : LargestDifference;
      EXPECT_LE(size(got, want), tolerance * size(want, zeros)) << tensor.name;
    }
    EXPECT_EQ(at * 4, static_cast<int64_t>(bytes.size()));
  }
};

TEST_P(GoldenTest, GradientsAreAutograds) {
  const auto model = GoldenModel(golden_["config"], {}, device_.get());
  const Gradients got = GradientsOf(*model, PackedBatch(golden_["documents"], 1, 2));
  EXPECT_NEAR(got.loss, golden_["loss"].get<double>(), 2e-5);
  ExpectGolden(model->table(), got.values, 1e-4, false);
}

TEST_P(GoldenTest, Bf16GradientsAreNear) {
  const auto model = GoldenModel(golden_["config"], {.bf16 = true}, device_.get());
  const Gradients got = GradientsOf(*model, PackedBatch(golden_["documents"], 1, 2));
  EXPECT_NEAR(got.loss, golden_["loss"].get<double>(), 0.03);
  ExpectGolden(model->table(), got.values, 0.1, true);
}

INSTANTIATE_TEST_SUITE_P(All, GoldenTest, testing::Combine(testing::ValuesIn(kNames), testing::ValuesIn(kernels::SupportedCpuIsas())), [](const auto& info) {
  return std::string(std::get<0>(info.param)) + "_" + std::string(kernels::CpuIsaName(std::get<1>(info.param)));
});

class CurveTest : public testing::TestWithParam<const char*> {};

TEST_P(CurveTest, TwoHundredStepsFollowPyTorch) {
  const json golden = TrainingGolden(GetParam());
  const auto device = kernels::OpenCpuTrainDevice(kernels::BestCpuIsa(), 2);
  const auto model = GoldenModel(golden["config"], {}, device.get());
  const double rate = golden["rate"];
  const int64_t steps = static_cast<int64_t>(golden["losses"].size());
  ASSERT_EQ(steps, 200);
  const runtime::ScheduleOptions schedule = {.rate = rate, .final_rate = rate / 10, .warmup = golden["warmup"].get<int64_t>(), .steps = steps};
  for (int64_t step = 1; step <= steps; ++step) {
    const Batch batch = PackedBatch(golden["batches"][(step - 1) % golden["batches"].size()], 0.5f, 1);
    model->ClearGradients();
    const auto loss = model->Accumulate(batch, static_cast<float>(1 / batch.weight()), 0);
    ASSERT_TRUE(loss.ok());
    const double want = golden["losses"][step - 1];
    ASSERT_NEAR(loss->weighted / batch.weight(), want, 1e-3 * want) << "step " << step;
    ASSERT_TRUE(model->Update({.rate = static_cast<float>(RateAt(schedule, step)), .step = step}).ok());
  }
}

// Not with ReLU: its kinks turn the last bit of a sum into another path; PyTorch's own float32 and float64 part by more than 1e-3 there.
INSTANTIATE_TEST_SUITE_P(All, CurveTest, testing::Values("learned", "alibi", "alibi_erf_by_layer"), [](const auto& info) { return std::string(info.param); });

class SameNumbersTest : public testing::Test {
 protected:
  json golden_ = TrainingGolden("alibi");
  Batch batch_ = PackedBatch(golden_["documents"], 1, 2);

  Gradients With(TrainModelOptions options, int threads = 2) {
    const auto device = kernels::OpenCpuTrainDevice(kernels::BestCpuIsa(), threads);
    const auto model = GoldenModel(golden_["config"], options, device.get());
    return GradientsOf(*model, batch_, 7);
  }
};

TEST_F(SameNumbersTest, WhateverTheThreads) {
  const Gradients one = With({.dropout = 0.1f}, 1), three = With({.dropout = 0.1f}, 3);
  EXPECT_EQ(one.loss, three.loss);
  EXPECT_EQ(one.values, three.values);
}

TEST_F(SameNumbersTest, WhenLayersAreComputedAgain) {
  for (const bool bf16 : {false, true}) {
    const Gradients kept = With({.bf16 = bf16, .dropout = 0.1f}), again = With({.bf16 = bf16, .recompute_layers = true, .dropout = 0.1f});
    EXPECT_EQ(kept.loss, again.loss);
    EXPECT_EQ(kept.values, again.values);
  }
}

TEST_F(SameNumbersTest, NearlyWithStandardAttention) {
  const Gradients flash = With({}), standard = With({.materialised = true});
  EXPECT_NEAR(flash.loss, standard.loss, 1e-6);
  EXPECT_LE(LargestDifference(flash.values, standard.values), 1e-5);
}

TEST_F(SameNumbersTest, DropoutChangesThemWithItsNumber) {
  const auto device = kernels::OpenCpuTrainDevice(kernels::BestCpuIsa(), 2);
  const auto model = GoldenModel(golden_["config"], {.dropout = 0.2f, .dropout_seed = 3}, device.get());
  const Gradients first = GradientsOf(*model, batch_, 1), second = GradientsOf(*model, batch_, 2), again = GradientsOf(*model, batch_, 1);
  EXPECT_EQ(first.values, again.values);
  EXPECT_GT(LargestDifference(first.values, second.values), 1e-3);
}

// d(loss) by central differences of the device's own loss, with dropout: the masks of the backward pass are those of the forward pass.
TEST_F(SameNumbersTest, DropoutsGradientIsThatOfItsLoss) {
  const auto device = kernels::OpenCpuTrainDevice(kernels::BestCpuIsa(), 2);
  const auto model = GoldenModel(golden_["config"], {.dropout = 0.3f, .dropout_seed = 5}, device.get());
  const Gradients at = GradientsOf(*model, batch_, 4);
  std::vector<float> weights;
  ASSERT_TRUE(model->GetState(&weights, nullptr, nullptr).ok());
  std::mt19937 random(1);
  std::vector<float> direction(weights.size());
  double slope = 0;
  for (const runtime::Parameter& p : model->table().all()) {
    for (int64_t i = p.offset; i < p.offset + p.count(); ++i) {
      direction[i] = random() % 2 == 0 ? 1.0f : -1.0f;
      slope += static_cast<double>(direction[i]) * at.values[i];
    }
  }
  const float step = 1e-4f;
  double losses[2];
  for (const int sign : {0, 1}) {
    std::vector<float> moved = weights;
    for (size_t i = 0; i < moved.size(); ++i) moved[i] += (sign == 1 ? step : -step) * direction[i];
    ASSERT_TRUE(model->SetState(moved, nullptr, nullptr).ok());
    losses[sign] = GradientsOf(*model, batch_, 4).loss;
  }
  EXPECT_NEAR((losses[1] - losses[0]) / (2 * step), slope, 0.02 * std::abs(slope) + 0.02);
}

// No row sees another document: each document alone gives the same sums.
TEST_F(SameNumbersTest, PackedOrAlone) {
  const auto device = kernels::OpenCpuTrainDevice(kernels::BestCpuIsa(), 2);
  const auto model = GoldenModel(golden_["config"], {}, device.get());
  const Gradients packed = GradientsOf(*model, batch_);
  model->ClearGradients();
  double loss = 0;
  for (const json& doc : golden_["documents"]) {
    const auto part = model->Accumulate(PackedBatch(json::array({doc}), 1, 2), static_cast<float>(1 / batch_.weight()), 0);
    ASSERT_TRUE(part.ok());
    loss += part->weighted / batch_.weight();
  }
  std::vector<float> alone;
  ASSERT_TRUE(model->GetGradients(&alone).ok());
  EXPECT_NEAR(loss, packed.loss, 1e-6);
  EXPECT_LE(LargestDifference(alone, packed.values), 1e-5);
}

// Attention's memory by its accounting: what the device holds beyond a short batch's, by length.
TEST(TrainingMemory, FlashGrowsWithTheLengthAndStandardWithItsSquare) {
  json config = TrainingGolden("alibi")["config"];
  const auto bytes_at = [&](int length, bool materialised) {
    const auto device = kernels::OpenCpuTrainDevice(kernels::BestCpuIsa(), 1);
    const auto model = GoldenModel(config, {.materialised = materialised, .max_rows = 2048}, device.get());
    const int64_t before = device->allocated_bytes();
    runtime::Documents one;
    one.tokens.assign(length + 1, 5);
    one.begin = {0, length + 1};
    one.summary_begin = {length / 2};
    Batch batch;
    runtime::AddDocument(one, 0, {}, &batch);
    EXPECT_TRUE(model->Accumulate(batch, 1, 0).ok());
    return static_cast<double>(device->allocated_bytes() - before);
  };
  EXPECT_LT(bytes_at(2048, false), 5 * bytes_at(512, false));
  EXPECT_GT(bytes_at(2048, true) - bytes_at(2048, false), 14 * (bytes_at(512, true) - bytes_at(512, false)));
}

TEST(TrainingLimits, NanIsNoticedAndChangesNothing) {
  const json golden = TrainingGolden("alibi");
  const auto device = kernels::OpenCpuTrainDevice(kernels::BestCpuIsa(), 2);
  const auto model = GoldenModel(golden["config"], {}, device.get());
  std::vector<float> weights, after;
  ASSERT_TRUE(model->GetState(&weights, nullptr, nullptr).ok());
  weights[model->table().Find("h.0.mlp.c_fc.weight").offset + 3] = NAN;
  ASSERT_TRUE(model->SetState(weights, nullptr, nullptr).ok());
  const Gradients got = GradientsOf(*model, PackedBatch(golden["documents"], 1, 1));
  EXPECT_TRUE(std::isnan(got.loss));
  const auto update = model->Update({.rate = 1e-3f});
  ASSERT_TRUE(update.ok());
  EXPECT_FALSE(update->finite);
  ASSERT_TRUE(model->GetState(&after, nullptr, nullptr).ok());
  EXPECT_EQ(std::memcmp(weights.data(), after.data(), weights.size() * 4), 0);
}

}  // namespace
}  // namespace precis::test
