// Options, and what a run begins with.
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "runtime/model/mapped_file.h"
#include "runtime/training/options.h"
#include "runtime/training/parameters.h"
#include "runtime/training/start.h"
#include "tests/runtime/model/synthetic_model.h"
#include "tests/runtime/training/status_says.h"

namespace precis::test {
namespace {

using nlohmann::json;
using namespace precis::runtime;  // NOLINT: this test is about most of it

TEST(Options, AreCheckedByName) {
  const auto parse = [](std::vector<const char*> words) {
    words.insert(words.begin(), "precis-finetune");
    std::string help;
    return ParseTrainOptions(static_cast<int>(words.size()), words.data(), &help).status();
  };
  EXPECT_TRUE(parse({"--model=m", "--data", "d.jsonl", "--out=o"}).ok());
  EXPECT_TRUE(Says(parse({"--data", "d.jsonl", "--out=o"}), "either --model=DIR"));
  EXPECT_TRUE(Says(parse({"--model=m", "--out=o"}), "--data"));
  EXPECT_TRUE(Says(parse({"--model=m", "--data", "d", "--out=o", "--train-tokenizer=1000"}), "go with --new-model"));
  EXPECT_TRUE(Says(parse({"--new-model=c", "--data", "d", "--out=o"}), "needs either --tokenizer"));
  EXPECT_TRUE(Says(parse({"--model=m", "--data", "d", "--out=o", "--positions=rotary"}), "--positions"));
  EXPECT_TRUE(Says(parse({"--model=m", "--data", "d", "--out=o", "--patience=2"}), "--eval-data"));
  EXPECT_TRUE(Says(parse({"--model=m", "--data", "d", "--out=o", "--max-steps=0"}), "--max-steps"));
  EXPECT_TRUE(Says(parse({"--model=m", "--data", "d", "--out=o", "--frobnicate"}), "--frobnicate"));
}

TEST(Options, AResumedRunMustHaveThemInCommon) {
  TrainOptions then, now;
  EXPECT_TRUE(CompareOptions(OptionsInCommon(then, 1), OptionsInCommon(now, 1)).ok());
  EXPECT_TRUE(Says(CompareOptions(OptionsInCommon(then, 1), OptionsInCommon(now, 2)), "the data (or the tokenizer)"));
  now.rate = 0.5;
  EXPECT_TRUE(Says(CompareOptions(OptionsInCommon(then, 1), OptionsInCommon(now, 1)), "--rate was 0.0003 and is 0.5"));
  now = {};
  now.threads = 7;
  now.checkpoint_every = 3;
  EXPECT_TRUE(CompareOptions(OptionsInCommon(then, 1), OptionsInCommon(now, 1)).ok()) << "these change no number";
}

class StartTest : public testing::Test {
 protected:
  void Folder(const json& changes) {
    WriteModel(dir_.path(), {.config = SmallConfig(changes)});
    WriteByteTokenizer(dir_.path());
  }
  absl::StatusOr<TrainingStart> Start(std::string positions = "", int length = 0) {
    TrainOptions options;
    options.model = dir_.path();
    options.positions = std::move(positions);
    options.length = length;
    return ReadStart(options);
  }
  TempDir dir_;
};

TEST_F(StartTest, LearnedBecomesAlibi) {
  Folder(json::object());
  const auto start = Start("alibi", 48);
  ASSERT_TRUE(start.ok()) << start.status();
  EXPECT_TRUE(start->config.model.alibi);
  EXPECT_TRUE(start->drop_positions);
  for (const auto& [name, content] : start->files) {
    if (name == "config.json") {
      EXPECT_TRUE(json::parse(content)["alibi"].get<bool>());
      EXPECT_EQ(json::parse(content)["n_positions"], 48);
      EXPECT_TRUE(ParseConfig(content, name).ok());
    }
    if (name == "precis.json") {
      EXPECT_EQ(json::parse(content)["context_tokens"], 48);
    }
  }
}

TEST_F(StartTest, WhatDoesNotFitIsRefusedByName) {
  Folder({{"alibi", true}});
  EXPECT_TRUE(Says(Start("learned").status(), "has no position embeddings"));
  Folder(json::object());
  EXPECT_TRUE(Says(Start("", 1000).status(), "learned positions end there"));
  Folder({{"vocab_size", 200}});
  EXPECT_TRUE(Says(Start().status(), "they don't belong together"));
  Folder({{"eos_token_id", 3}});
  EXPECT_TRUE(Says(Start().status(), "eos_token_id"));
}

TEST_F(StartTest, WeightsOfEveryTypeAreRead) {
  for (const char* dtype : {"F32", "F16", "BF16", "I8"}) {
    for (const bool prefix : {true, false}) {
      WriteModel(dir_.path(), {.config = SmallConfig(), .dtype = dtype, .prefix = prefix});
      const auto store = TensorStore::Open(dir_.path());
      ASSERT_TRUE(store.ok());
      const ParameterTable table(*ParseConfig(SmallConfig().dump(), "c"));
      const auto weights = ReadWeights(*store, table, false);
      ASSERT_TRUE(weights.ok()) << dtype << weights.status();
      EXPECT_TRUE(std::all_of(weights->begin(), weights->end(), [](float x) { return std::isfinite(x); }));
    }
  }
  const ParameterTable alibi(*ParseConfig(SmallConfig({{"alibi", true}}).dump(), "c"));
  WriteModel(dir_.path(), {.config = SmallConfig()});
  EXPECT_TRUE(Says(ReadWeights(*TensorStore::Open(dir_.path()), alibi, false).status(), "wpe.weight"));
  EXPECT_TRUE(ReadWeights(*TensorStore::Open(dir_.path()), alibi, true).ok());
  const ParameterTable wider(*ParseConfig(SmallConfig({{"n_inner", 96}}).dump(), "c"));
  EXPECT_TRUE(Says(ReadWeights(*TensorStore::Open(dir_.path()), wider, false).status(), "has shape"));
}

}  // namespace
}  // namespace precis::test
