// The forward pass on the SIMT device beside the CPU's: the same tokens in f32, and near in bf16; any chunking, any company, every variant.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "gtest/gtest.h"
#include "kernels/gpu/gpu_device.h"
#include "runtime/model/cpu_runner.h"
#include "runtime/model/gpu_runner.h"
#include "tests/runtime/model/runner_harness.h"

namespace precis::test {
namespace {

using kernels::AttentionVariant;
using runtime::ModelRunner;

constexpr int kPages = 24;
constexpr int kStepTokens = 128;

struct Model {
  const char* name;
  bool alibi;
  int head_dim;
  kernels::DType weights;
};

class GpuRunnerTest : public testing::TestWithParam<Model> {
 protected:
  void SetUp() override {
    const Model& setup = GetParam();
    nlohmann::json changes = {{"n_head", 2}, {"n_embd", 2 * setup.head_dim}, {"n_positions", 128}, {"vocab_size", 317}};
    if (setup.alibi) changes["alibi"] = true;
    WriteModel(folder_.path(), {.config = SmallConfig(changes)});
    options_ = TestOptions();
    options_.weights_auto = false;
    options_.weights = setup.weights;
    auto cpu = LoadFolder(folder_.path(), options_);
    ASSERT_TRUE(cpu.ok()) << cpu.status();
    cpu_ = std::move(*cpu);
    LoadGpu();
  }

  void LoadGpu() {
    std::shared_ptr<kernels::GpuDevice> device = kernels::OpenSimtDevice({.seed = 3, .compute_major = GetParam().head_dim == 64 ? 9 : 8});
    auto gpu = runtime::LoadGpuRunner(folder_.path(), options_, 0, std::make_shared<kernels::ThreadPool>(2), device);
    ASSERT_TRUE(gpu.ok()) << gpu.status();
    gpu_ = std::move(*gpu);
    gpu_->SetLimits(int64_t{64} << 20);
    auto memory = gpu_->Reserve(kPages, kStepTokens);
    ASSERT_TRUE(memory.ok()) << memory.status();
    ASSERT_NE(memory->base, nullptr);
    memory_ = *memory;
  }

  std::vector<const AttentionVariant*> Variants() const {
    std::vector<const AttentionVariant*> variants;
    for (const auto& variant : kernels::AttentionVariants()) {
      if ((variant.positions == kernels::Positions::kAlibi) == GetParam().alibi) variants.push_back(&variant);
    }
    return variants;
  }

  // Runs tokens [position, end) of one sequence on the GPU runner; the logits after the last.
  std::vector<float> Step(const AttentionVariant* variant, const std::vector<int32_t>& tokens, int position, int end, const std::vector<int32_t>& table) {
    std::vector<float> logits(gpu_->config().vocab_size, NAN);
    runtime::StepRow row;
    row.tokens = absl::MakeConstSpan(tokens).subspan(position, end - position);
    row.position = position;
    row.block_table = table.data();
    row.variant = variant;
    row.logits = logits.data();
    runtime::StepOutput output;
    const absl::Status status = gpu_->Step({&row, 1}, memory_, false, {&output, 1}, nullptr);
    EXPECT_TRUE(status.ok()) << status;
    return logits;
  }

  std::vector<float> OnCpu(const AttentionVariant* variant, const std::vector<int32_t>& tokens) {
    KvPages pages(*cpu_, kPages, 1);
    Sequence sequence{variant, pages.Take(static_cast<int>(tokens.size())), 0};
    return RunTokens(*cpu_, pages, sequence, tokens);
  }

  void ExpectNear(const std::vector<float>& got, const std::vector<float>& want, const std::string& what) {
    double worst = 0, largest = 0;
    for (size_t i = 0; i < want.size(); ++i) {
      ASSERT_TRUE(std::isfinite(got[i])) << what << " " << i;
      worst = std::max<double>(worst, std::abs(got[i] - want[i]));
      largest = std::max<double>(largest, std::abs(want[i]));
    }
    EXPECT_LE(worst, largest * (GetParam().weights == kernels::DType::kF32 ? 2e-4 : 5e-2)) << what;
  }

  TempDir folder_;
  runtime::LoadOptions options_;
  std::unique_ptr<ModelRunner> cpu_, gpu_;
  runtime::KvMemory memory_;
};

std::vector<int32_t> Table(int first) {
  std::vector<int32_t> table(8);
  std::iota(table.begin(), table.end(), first);
  std::reverse(table.begin(), table.end());
  return table;
}

TEST_P(GpuRunnerTest, LogitsAreTheCpus) {
  for (const AttentionVariant* variant : Variants()) {
    for (int length : {1, 17, 40}) {
      const std::vector<int32_t> tokens = RandomTokens("gpu", length, 317);
      ExpectNear(Step(variant, tokens, 0, length, Table(2)), OnCpu(variant, tokens), std::string(variant->name) + " " + std::to_string(length));
    }
  }
}

TEST_P(GpuRunnerTest, ChunksAndDecodeAfterPrefill) {
  for (const AttentionVariant* variant : Variants()) {
    const std::vector<int32_t> tokens = RandomTokens("chunks", 37, 317);
    const std::vector<int32_t> table = Table(5);
    Step(variant, tokens, 0, 20, table);
    Step(variant, tokens, 20, 35, table);
    Step(variant, tokens, 35, 36, table);
    ExpectNear(Step(variant, tokens, 36, 37, table), OnCpu(variant, tokens), std::string(variant->name));
  }
}

// One step with every variant, prefill and decode at once: each row's bits are those of the row alone.
TEST_P(GpuRunnerTest, CompanyDoesNotChangeBits) {
  const std::vector<int32_t> first = RandomTokens("first", 30, 317), second = RandomTokens("second", 21, 317);
  const auto variants = Variants();
  const std::vector<int32_t> table_a = Table(0), table_b = Table(8), table_c = Table(16);
  const std::vector<float> alone_prefill = Step(variants[0], first, 0, 30, table_a);
  Step(variants[1], second, 0, 20, table_b);
  const std::vector<float> alone_decode = Step(variants[1], second, 20, 21, table_b);

  std::vector<float> logits[3];
  runtime::StepRow rows[3];
  const std::vector<int32_t>* tables[] = {&table_b, &table_c, &table_a};
  const std::vector<int32_t>* tokens[] = {&second, &second, &first};
  const AttentionVariant* row_variants[] = {variants[1], variants[1], variants[0]};
  const int positions[] = {20, 0, 0}, ends[] = {21, 13, 30};
  for (int i = 0; i < 3; ++i) {
    logits[i].assign(317, NAN);
    rows[i].tokens = absl::MakeConstSpan(*tokens[i]).subspan(positions[i], ends[i] - positions[i]);
    rows[i].position = positions[i];
    rows[i].block_table = tables[i]->data();
    rows[i].variant = row_variants[i];
    rows[i].logits = logits[i].data();
  }
  runtime::StepOutput outputs[3];
  const absl::Status status = gpu_->Step(rows, memory_, false, absl::MakeSpan(outputs), nullptr);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(logits[0], alone_decode);
  EXPECT_EQ(logits[2], alone_prefill);
}

// The device chooses what the host would have chosen from the same logits, whatever the options; three rows run padded to four.
TEST_P(GpuRunnerTest, TokensAreTheHosts) {
  const std::vector<int32_t> prompt = RandomTokens("prompt", 20, 317), generated = {5, 9, 5, 9, 5};
  runtime::GenerationOptions options[3];
  options[1].repetition_penalty = 1.4f;
  options[1].no_repeat_ngram_size = 2;
  options[1].min_new_tokens = 8;
  options[2].temperature = 0.9f;
  options[2].top_k = 40;
  options[2].top_p = 0.8f;
  options[2].seed = 77;
  const auto variants = Variants();
  runtime::SamplingContext contexts[3];
  runtime::StepRow rows[3];
  std::vector<float> logits[3];
  const std::vector<int32_t> tables[] = {Table(0), Table(8), Table(16)};
  for (int i = 0; i < 3; ++i) {
    Step(variants[i % 2], prompt, 0, 20, tables[i]);
    contexts[i] = {&options[i], prompt, absl::MakeConstSpan(generated).first(2 + i), 3};
    logits[i].assign(317, NAN);
    rows[i].tokens = absl::MakeConstSpan(generated).subspan(1 + i, 1);
    rows[i].position = 20;
    rows[i].block_table = tables[i].data();
    rows[i].variant = variants[i % 2];
    rows[i].sampling = &contexts[i];
    rows[i].logits = logits[i].data();
  }
  runtime::StepOutput by_host[3], by_device[3];
  ASSERT_TRUE(gpu_->Step(rows, memory_, false, absl::MakeSpan(by_host), nullptr).ok());
  for (runtime::StepRow& row : rows) row.logits = nullptr;
  runtime::StepStats stats;
  const absl::Status status = gpu_->Step(rows, memory_, true, absl::MakeSpan(by_device), &stats);
  ASSERT_TRUE(status.ok()) << status;
  for (int i = 0; i < 3; ++i) {
    EXPECT_GE(by_host[i].token, 0);
    EXPECT_EQ(by_device[i].token, by_host[i].token) << i;
  }
  ASSERT_EQ(stats.variants.size(), 2u);
  for (const runtime::VariantStats& variant : stats.variants) EXPECT_GT(variant.attention_time, absl::ZeroDuration());
}

// Steps launched ahead, the second sequence leaving halfway, choose what steps one by one choose.
TEST_P(GpuRunnerTest, StepsAheadChooseTheSameTokens) {
  constexpr int kSteps = 4;
  const std::vector<int32_t> prompts[] = {RandomTokens("ahead", 20, 317), RandomTokens("other", 18, 317)};
  const std::vector<int32_t> tables[] = {Table(0), Table(8)};
  runtime::GenerationOptions options[2];
  options[1].temperature = 0.8f;
  options[0].min_new_tokens = options[1].min_new_tokens = 2;
  const auto run = [&](bool ahead) {
    std::vector<int32_t> generated[2];
    runtime::SamplingContext contexts[2];
    runtime::StepOutput outputs[2];
    for (int step = 0; step < kSteps + (ahead ? 1 : 0); ++step) {
      runtime::StepRow rows[2];
      const int sequences = step < 2 ? 2 : 1;
      for (int i = 0; i < sequences && step < kSteps; ++i) {
        const bool follows = ahead && step > 0;
        contexts[i] = {&options[i], prompts[i], generated[i], 3, follows ? 1 : 0};
        rows[i].tokens = step == 0 ? absl::MakeConstSpan(prompts[i]) : follows ? absl::MakeConstSpan(prompts[i]).first(1) : absl::MakeConstSpan(generated[i]).last(1);
        rows[i].position = step == 0 ? 0 : static_cast<int>(prompts[i].size()) + step - 1;
        rows[i].block_table = tables[i].data();
        rows[i].variant = Variants()[i];
        rows[i].sampling = &contexts[i];
        rows[i].after = follows ? i : -1;
      }
      if (!ahead) {
        EXPECT_TRUE(gpu_->Step({rows, static_cast<size_t>(sequences)}, memory_, false, absl::MakeSpan(outputs), nullptr).ok());
      } else {
        if (step < kSteps) {
          EXPECT_TRUE(gpu_->Launch({rows, static_cast<size_t>(sequences)}, memory_, step == 1).ok());
        }
        if (step == 0) continue;
        EXPECT_TRUE(gpu_->Collect(absl::MakeSpan(outputs), nullptr).ok());
      }
      const int collected = ahead ? step - 1 : step;
      for (int i = 0; i < (collected < 2 ? 2 : 1); ++i) generated[i].push_back(outputs[i].token);
    }
    return std::pair(generated[0], generated[1]);
  };
  const auto one_by_one = run(false);
  EXPECT_EQ(one_by_one.first.size(), static_cast<size_t>(kSteps));
  EXPECT_EQ(run(true), one_by_one);
}

TEST_P(GpuRunnerTest, RefusesToFollowWhatLeftNoToken) {
  const std::vector<int32_t> tokens = RandomTokens("follow", 4, 317), table = Table(0);
  runtime::StepRow row;
  row.tokens = tokens;
  row.block_table = table.data();
  row.variant = Variants()[0];
  ASSERT_TRUE(gpu_->Launch({&row, 1}, memory_, false).ok());
  row.tokens = absl::MakeConstSpan(tokens).first(1);
  row.position = 4;
  row.after = 0;
  EXPECT_FALSE(gpu_->Launch({&row, 1}, memory_, false).ok());
  runtime::StepOutput output;
  EXPECT_FALSE(gpu_->Step({&row, 1}, memory_, false, {&output, 1}, nullptr).ok());
  ASSERT_TRUE(gpu_->Collect({&output, 1}, nullptr).ok());
  EXPECT_FALSE(gpu_->Collect({&output, 1}, nullptr).ok());
}

INSTANTIATE_TEST_SUITE_P(Models, GpuRunnerTest,
                         testing::Values(Model{"f32", false, 32, kernels::DType::kF32}, Model{"alibi_f32", true, 32, kernels::DType::kF32},
                                         Model{"bf16", false, 32, kernels::DType::kBf16}, Model{"alibi_bf16", true, 64, kernels::DType::kBf16},
                                         Model{"hopper_bf16", false, 64, kernels::DType::kBf16}),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(LoadGpuRunner, RefusesAnotherHeadSize) {
  TempDir folder;
  WriteModel(folder.path(), {.config = SmallConfig()});  // 8
  const auto runner = runtime::LoadGpuRunner(folder.path(), TestOptions(), 0, std::make_shared<kernels::ThreadPool>(1), kernels::OpenSimtDevice({}));
  ASSERT_FALSE(runner.ok());
  EXPECT_NE(runner.status().message().find("n_embd / n_head is 8"), std::string::npos) << runner.status();
}

TEST(OpenDevice, SaysWhatIsMissing) {
  std::string why_cpu;
  auto device = runtime::OpenDevice("cpu", &why_cpu);
  ASSERT_TRUE(device.ok());
  EXPECT_EQ(*device, nullptr);
  if (kernels::OpenCudaDevice(0).ok()) GTEST_SKIP() << "this machine has a GPU";
  EXPECT_FALSE(runtime::OpenDevice("cuda", &why_cpu).ok());
  device = runtime::OpenDevice("auto", &why_cpu);
  ASSERT_TRUE(device.ok()) << device.status();
  EXPECT_EQ(*device, nullptr);
  EXPECT_FALSE(why_cpu.empty());
}

}  // namespace
}  // namespace precis::test
