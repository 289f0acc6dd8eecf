// The runner's promises: a row's bits depend on nothing but its own tokens, and a step that can't be run is an error.
#include <cstring>
#include <functional>
#include <optional>
#include <random>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/runtime/model/runner_harness.h"
#include "tests/runtime/model/synthetic_model.h"

namespace precis::test {
namespace {

using runtime::StepOutput;
using runtime::StepRow;
using testing::HasSubstr;

struct Setup {
  const char* name;
  nlohmann::json changes;
  kernels::DType weights;
  std::optional<kernels::DType> kv = std::nullopt;
};

std::vector<Setup> Setups() {
  const nlohmann::json odd = {{"n_head", 3}, {"n_embd", 78}, {"n_inner", 45}, {"n_positions", 200}, {"vocab_size", 317}};
  nlohmann::json alibi = odd;
  alibi["alibi"] = true;
  return {{"f32", odd, kernels::DType::kF32},        {"bf16", odd, kernels::DType::kBf16},
          {"int8", odd, kernels::DType::kI8},        {"alibi_f32", alibi, kernels::DType::kF32},
          {"alibi_bf16", alibi, kernels::DType::kBf16},  {"f32_kv_bf16", odd, kernels::DType::kF32, kernels::DType::kBf16},
          {"int8_kv_f32", odd, kernels::DType::kI8, kernels::DType::kF32}};
}

class RunnerTest : public testing::TestWithParam<Setup> {
 protected:
  void SetUp() override { runner_ = Load(2, kernels::BestCpuIsa()); }

  std::unique_ptr<runtime::ModelRunner> Load(int threads, kernels::CpuIsa isa) {
    runtime::LoadOptions options = TestOptions();
    options.threads = threads;
    options.isa = isa;
    options.weights_auto = false;
    options.weights = GetParam().weights;
    options.kv_cache = GetParam().kv;
    auto runner = LoadSynthetic({.config = SmallConfig(GetParam().changes)}, options);
    EXPECT_TRUE(runner.ok()) << runner.status();
    return std::move(*runner);
  }

  // Of the largest logit: what is rounded to bf16 may fall to the other side.
  static float Tolerance() {
    const auto& setup = GetParam();
    return setup.weights == kernels::DType::kF32 && setup.kv.value_or(kernels::DType::kF32) == kernels::DType::kF32 ? 1e-5f : 2e-2f;
  }

  std::vector<const kernels::AttentionVariant*> Variants() const {
    std::vector<const kernels::AttentionVariant*> variants;
    for (const auto& variant : kernels::AttentionVariants()) {
      if ((variant.positions == kernels::Positions::kAlibi) == runner_->config().alibi) variants.push_back(&variant);
    }
    return variants;
  }

  // The logits after the last of `tokens`, run alone in chunks of these sizes (the last one repeats).
  std::vector<float> Alone(runtime::ModelRunner& runner, const kernels::AttentionVariant* variant,
                           const std::vector<int32_t>& tokens, const std::vector<int>& chunks, uint64_t seed) {
    KvPages pages(runner, 40, seed);
    Sequence sequence{variant, pages.Take(static_cast<int>(tokens.size())), 0};
    std::vector<float> logits;
    for (size_t i = 0, at = 0; at < tokens.size(); ++i) {
      const size_t size = std::min<size_t>(chunks[std::min(i, chunks.size() - 1)], tokens.size() - at);
      logits = RunTokens(runner, pages, sequence, {tokens.begin() + at, tokens.begin() + at + size});
      at += size;
    }
    return logits;
  }

  std::vector<int32_t> Tokens(const std::string& seed, int count) const {
    return RandomTokens(seed, count, runner_->config().vocab_size);
  }

  std::unique_ptr<runtime::ModelRunner> runner_;
};

bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

TEST_P(RunnerTest, ChunksPagesAndThreadsDoNotChangeBits) {
  auto single = Load(1, kernels::BestCpuIsa());
  for (const auto* variant : Variants()) {
    for (int length : {1, 2, 15, 16, 17, 33, 130}) {
      const std::vector<int32_t> tokens = Tokens("chunks", length);
      const std::vector<float> whole = Alone(*runner_, variant, tokens, {length}, 1);
      EXPECT_TRUE(SameBits(whole, Alone(*runner_, variant, tokens, {1}, 2))) << variant->name << " token by token " << length;
      EXPECT_TRUE(SameBits(whole, Alone(*runner_, variant, tokens, {7, 16, 1, 30}, 3))) << variant->name << " chunks " << length;
      EXPECT_TRUE(SameBits(whole, Alone(*single, variant, tokens, {length}, 4))) << variant->name << " one thread " << length;
      for (float value : whole) ASSERT_TRUE(std::isfinite(value));
    }
  }
}

// Random batches of prefills, chunks and decodes of both variants at once, each compared with itself alone.
TEST_P(RunnerTest, CompanyDoesNotChangeBits) {
  std::mt19937_64 random(11);
  const auto variants = Variants();
  for (int round = 0; round < 6; ++round) {
    struct Member {
      std::vector<int32_t> tokens;
      Sequence sequence = {};
      std::vector<float> logits;
    };
    KvPages pages(*runner_, 200, round);
    const int count = round == 0 ? 40 : 1 + static_cast<int>(random() % 12);
    std::vector<Member> members;
    for (int i = 0; i < count; ++i) {
      const int length = 1 + static_cast<int>(random() % (round == 0 ? 40 : 120));
      Member& member = members.emplace_back();
      member.tokens = Tokens("company" + std::to_string(round * 100 + i), length);
      member.sequence.variant = variants[random() % variants.size()];
      member.sequence.block_table = pages.Take(length);
      member.logits.resize(runner_->config().vocab_size);
    }
    for (bool left = true; left;) {
      left = false;
      std::vector<StepRow> rows;
      std::shuffle(members.begin(), members.end(), random);
      for (Member& member : members) {
        const int rest = static_cast<int>(member.tokens.size()) - member.sequence.length;
        if (rest == 0 || random() % 5 == 0) continue;
        const int size = 1 + static_cast<int>(random() % rest);
        rows.push_back({.tokens = absl::MakeConstSpan(member.tokens).subspan(member.sequence.length, size),
                        .position = member.sequence.length, .block_table = member.sequence.block_table.data(),
                        .variant = member.sequence.variant, .logits = size == rest ? member.logits.data() : nullptr});
        member.sequence.length += size;
      }
      std::vector<StepOutput> outputs(rows.size());
      ASSERT_TRUE(runner_->Step(rows, pages.memory(), false, absl::MakeSpan(outputs), nullptr).ok());
      for (const Member& member : members) left |= member.sequence.length < static_cast<int>(member.tokens.size());
    }
    for (const Member& member : members) {
      const int length = static_cast<int>(member.tokens.size());
      EXPECT_TRUE(SameBits(member.logits, Alone(*runner_, member.sequence.variant, member.tokens, {length}, round + 50)))
          << member.sequence.variant->name << " length " << length << " round " << round;
    }
  }
}

TEST_P(RunnerTest, CopiedPagesAreEqual) {
  const std::vector<int32_t> tokens = Tokens("copy", 21);
  const std::vector<float> expected = Alone(*runner_, Variants()[0], tokens, {21}, 1);
  KvPages pages(*runner_, 8, 3);
  Sequence sequence{Variants()[0], pages.Take(21), 0};
  RunTokens(*runner_, pages, sequence, {tokens.begin(), tokens.begin() + 20});
  const std::vector<int32_t> fresh = pages.Take(21);
  for (size_t i = 0; i < fresh.size(); ++i) runner_->CopyPage(pages.memory(), sequence.block_table[i], fresh[i]);
  sequence.block_table = fresh;
  EXPECT_TRUE(SameBits(expected, RunTokens(*runner_, pages, sequence, {tokens.back()})));
}

TEST_P(RunnerTest, InstructionSetsAgreeToRounding) {
  const std::vector<int32_t> tokens = Tokens("isa", 50);
  const std::vector<float> best = Alone(*runner_, Variants()[0], tokens, {50}, 1);
  for (kernels::CpuIsa isa : kernels::SupportedCpuIsas()) {
    auto runner = Load(2, isa);
    const std::vector<float> other = Alone(*runner, Variants()[0], tokens, {50}, 1);
    float largest = 0, difference = 0;
    for (size_t i = 0; i < best.size(); ++i) {
      largest = std::max(largest, std::fabs(best[i]));
      difference = std::max(difference, std::fabs(best[i] - other[i]));
    }
    EXPECT_LT(difference, Tolerance() * largest) << CpuIsaName(isa);
  }
}

TEST_P(RunnerTest, BothAlgorithmsAgreeToRounding) {
  const std::vector<int32_t> tokens = Tokens("algorithms", 190);
  const std::vector<float> a = Alone(*runner_, Variants()[0], tokens, {190}, 1);
  const std::vector<float> b = Alone(*runner_, Variants()[1], tokens, {190}, 1);
  float largest = 0, difference = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    largest = std::max(largest, std::fabs(a[i]));
    difference = std::max(difference, std::fabs(a[i] - b[i]));
  }
  EXPECT_LT(difference, Tolerance() * largest);
}

TEST_P(RunnerTest, SamplesWhereAskedAndReportsStats) {
  const runtime::GenerationOptions greedy;
  const runtime::SamplingContext context{.options = &greedy};
  const std::vector<int32_t> tokens = Tokens("sample", 30);
  KvPages pages(*runner_, 40, 3);
  std::vector<float> logits(runner_->config().vocab_size);
  const std::vector<int32_t> first = pages.Take(30), second = pages.Take(30);
  const StepRow rows[] = {
      {.tokens = tokens, .block_table = first.data(), .variant = Variants()[1], .sampling = &context, .logits = logits.data()},
      {.tokens = tokens, .block_table = second.data(), .variant = Variants()[0]}};
  StepOutput outputs[2];
  outputs[1].token = 7;
  runtime::StepStats stats;
  ASSERT_TRUE(runner_->Step(rows, pages.memory(), true, absl::MakeSpan(outputs), &stats).ok());
  EXPECT_EQ(outputs[0].token, std::max_element(logits.begin(), logits.end()) - logits.begin());
  EXPECT_EQ(outputs[1].token, -1);
  ASSERT_EQ(stats.variants.size(), 2u);
  for (const auto& variant : stats.variants) {
    EXPECT_GT(variant.attention_time, absl::ZeroDuration());
    EXPECT_GT(variant.workspace_bytes, 0);
  }
  ASSERT_TRUE(runner_->Step(rows, pages.memory(), false, absl::MakeSpan(outputs), &stats).ok());
  EXPECT_EQ(stats.variants[0].attention_time, absl::ZeroDuration());
}

TEST_P(RunnerTest, ActivationsStayInsideTheirBound) {
  for (int tokens : {1, 63, 64, 65, 150}) {
    auto fresh = Load(2, kernels::BestCpuIsa());
    KvPages pages(*fresh, 40, 3);
    const std::vector<int32_t> table = pages.Take(tokens), ids = Tokens("bound", tokens);
    std::vector<float> logits(fresh->config().vocab_size);
    const StepRow row{.tokens = ids, .block_table = table.data(), .variant = Variants()[0], .logits = logits.data()};
    StepOutput output;
    runtime::StepStats stats;
    ASSERT_TRUE(fresh->Step({&row, 1}, pages.memory(), false, {&output, 1}, &stats).ok());
    EXPECT_GT(stats.activations_bytes, 0);
    EXPECT_LE(stats.activations_bytes, fresh->ActivationBytes(tokens, 1)) << tokens;
  }
}

TEST_P(RunnerTest, WorkspaceLimitChangesNoBits) {
  const std::vector<int32_t> tokens = Tokens("limit", 130);
  for (const auto* variant : Variants()) {
    const std::vector<float> expected = Alone(*runner_, variant, tokens, {130}, 1);
    auto limited = Load(2, kernels::BestCpuIsa());
    limited->SetLimits(1);
    EXPECT_TRUE(SameBits(expected, Alone(*limited, variant, tokens, {130}, 1))) << variant->name;
  }
}

TEST_P(RunnerTest, StepsThatCanNotRunAreErrors) {
  KvPages pages(*runner_, 40, 3);
  const std::vector<int32_t> table = pages.Take(200), tokens = Tokens("bad", 20), outside = {0, -1, 5};
  const std::vector<int32_t> past = {runner_->config().vocab_size}, wrong_pages = {3, 40}, long_tokens = Tokens("long", 200);
  const StepRow good{.tokens = tokens, .block_table = table.data(), .variant = Variants()[0]};
  const auto error = [&](const std::function<void(StepRow&)>& change) {
    StepRow rows[] = {good, good};
    change(rows[1]);
    StepOutput outputs[2];
    const absl::Status status = runner_->Step(rows, pages.memory(), false, absl::MakeSpan(outputs), nullptr);
    EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
    EXPECT_THAT(std::string(status.message()), HasSubstr("row 1"));
    return std::string(status.message());
  };
  EXPECT_THAT(error([](StepRow& row) { row.tokens = {}; }), HasSubstr("no tokens"));
  EXPECT_THAT(error([&](StepRow& row) { row.tokens = outside; }), HasSubstr("token -1 of a vocabulary of"));
  EXPECT_THAT(error([&](StepRow& row) { row.tokens = past; }), HasSubstr("of a vocabulary of"));
  EXPECT_THAT(error([](StepRow& row) { row.position = -1; }), HasSubstr("position -1"));
  EXPECT_THAT(error([](StepRow& row) { row.block_table = nullptr; }), HasSubstr("no block table"));
  EXPECT_THAT(error([&](StepRow& row) { row.block_table = wrong_pages.data(); }), HasSubstr("page 40 of 40"));
  EXPECT_THAT(error([](StepRow& row) { row.variant = nullptr; }), HasSubstr("no attention variant"));
  const bool alibi = runner_->config().alibi;
  EXPECT_THAT(error([&](StepRow& row) { row.variant = kernels::FindAttentionVariant(alibi ? "flash" : "flash_alibi"); }),
              HasSubstr("asks for flash"));
  if (!alibi) {
    EXPECT_THAT(error([&](StepRow& row) {
                  row.tokens = long_tokens;
                  row.position = 1;
                }),
                HasSubstr("past the context of 200"));
  }
  // An empty step is fine.
  EXPECT_TRUE(runner_->Step({}, pages.memory(), false, {}, nullptr).ok());
}

INSTANTIATE_TEST_SUITE_P(Weights, RunnerTest, testing::ValuesIn(Setups()),
                         [](const auto& info) { return info.param.name; });

TEST(KvCacheType, HalvesThePagesOfF32) {
  runtime::LoadOptions options = TestOptions();
  options.weights_auto = false;
  const auto wide = LoadSynthetic({.config = SmallConfig(nlohmann::json::object())}, options);
  options.kv_cache = kernels::DType::kBf16;
  const auto narrow = LoadSynthetic({.config = SmallConfig(nlohmann::json::object())}, options);
  ASSERT_TRUE(wide.ok() && narrow.ok());
  EXPECT_EQ((*wide)->page_bytes(), 2 * (*narrow)->page_bytes());
}

TEST(AlibiContext, ComesFromTheOptions) {
  runtime::LoadOptions options = TestOptions();
  options.alibi_context_tokens = 500;
  const auto runner = LoadSynthetic({.config = SmallConfig({{"alibi", true}})}, options);
  ASSERT_TRUE(runner.ok()) << runner.status();
  EXPECT_EQ((*runner)->context_tokens(), 500);
  EXPECT_EQ((*runner)->config().n_positions, 64);
}

}  // namespace
}  // namespace precis::test
