// Beam searches through the whole engine against transformers' (tests/golden/make_beam_golden.py): the same tokens, each search alone, and all of a
// checkpoint together in little memory.
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "runtime/engine.h"
#include "tests/runtime/engine/engine_harness.h"
#include "tests/runtime/model/synthetic_model.h"

namespace precis::testing {
namespace {

using nlohmann::json;
using runtime::Engine;
using runtime::EngineOptions;
using runtime::Request;

const json& Golden() {
  static const json* const golden =
      new json(json::parse(test::ReadFile(std::string(PRECIS_SOURCE_DIR) + "/tests/golden/beams.json")));
  return *golden;
}

Request RequestOf(const json& search, const std::string& backend) {
  Request request;
  request.document = search["prompt"];
  request.attention_backend = backend;
  request.options.max_new_tokens = search["max_new_tokens"];
  request.options.min_new_tokens = search["min_new_tokens"];
  request.options.num_beams = search["num_beams"];
  request.options.length_penalty = search["length_penalty"];
  request.options.repetition_penalty = search["repetition_penalty"];
  request.options.no_repeat_ngram_size = search["no_repeat_ngram_size"];
  const std::string early = search["early_stopping"];
  request.options.early_stopping = early == "true"    ? runtime::EarlyStopping::kTrue
                                   : early == "never" ? runtime::EarlyStopping::kNever
                                                      : runtime::EarlyStopping::kFalse;
  return request;
}

class BeamGoldenTest : public ::testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    checkpoint_ = Golden()["checkpoints"][GetParam()];
    test::SyntheticModel model;
    model.config = checkpoint_["config"];
    test::WriteModel(directory_.path(), model);
    test::WriteByteTokenizer(directory_.path());
    test::WriteFile(directory_.file("precis.json"), R"({"prompt_suffix": ""})");
    const bool alibi = checkpoint_["config"].value("alibi", false);
    backends_ = alibi ? std::vector<std::string>{"flash_alibi", "standard_alibi"} : std::vector<std::string>{"flash", "standard"};
  }

  std::unique_ptr<Engine> Start(int pages) {
    runtime::LoadOptions load;
    load.isa = kernels::BestCpuIsa();
    load.threads = 2;
    auto catalog = runtime::Catalog::Load({{"m", directory_.path()}}, load);
    EXPECT_TRUE(catalog.ok()) << catalog.status();
    EngineOptions options;
    options.max_step_tokens = 48;
    options.kv_cache_bytes = pages * (*catalog)->all_checkpoints()[0]->runner->page_bytes();
    auto engine = Engine::Create(*std::move(catalog), options, &telemetry_);
    EXPECT_TRUE(engine.ok()) << engine.status();
    return *std::move(engine);
  }

  void Expect(const json& search, Call* call) {
    SCOPED_TRACE(search.dump());
    const auto& result = call->Wait();
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(result->token_ids, search["tokens"].get<std::vector<int32_t>>());
    EXPECT_EQ(result->finish_reason == runtime::FinishReason::kEndOfText, search["end_of_text"].get<bool>());
    EXPECT_EQ(call->streamed(), result->summary);
  }

  json checkpoint_;
  test::TempDir directory_;
  std::vector<std::string> backends_;
  CountingTelemetry telemetry_;
};

TEST_P(BeamGoldenTest, TokensAreTransformers) {
  const auto engine = Start(1000);
  ASSERT_GE(checkpoint_["searches"].size(), 20u);
  for (const json& search : checkpoint_["searches"]) {
    for (const std::string& backend : backends_) Expect(search, Send(engine.get(), RequestOf(search, backend)).get());
  }
}

TEST_P(BeamGoldenTest, TogetherInLittleMemoryToo) {
  const auto engine = Start(75);  // the largest needs 16 * 4 pages and 4 of its prompt
  std::vector<std::shared_ptr<Call>> calls;
  const json& searches = checkpoint_["searches"];
  for (size_t i = 0; i < searches.size(); ++i) calls.push_back(Send(engine.get(), RequestOf(searches[i], backends_[i % 2])));
  for (size_t i = 0; i < searches.size(); ++i) Expect(searches[i], calls[i].get());
  engine->Drain(absl::Seconds(10));
  EXPECT_EQ(engine->load().kv_blocks_used, 0);
}

INSTANTIATE_TEST_SUITE_P(Checkpoints, BeamGoldenTest, ::testing::Range(0, 4));

}  // namespace
}  // namespace precis::testing
