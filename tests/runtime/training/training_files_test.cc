// Data, schedules, metrics' formats, checkpoints and start-up checks of the trainer.
#include <sys/stat.h>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <filesystem>
#include <set>

#include <sys/resource.h>

#include "gtest/gtest.h"
#include "runtime/model/mapped_file.h"
#include "runtime/training/batches.h"
#include "runtime/training/checkpoint.h"
#include "runtime/training/documents.h"
#include "runtime/training/files.h"
#include "runtime/training/metrics.h"
#include "runtime/training/options.h"
#include "runtime/training/safetensors_writer.h"
#include "runtime/training/schedule.h"
#include "runtime/training/start.h"
#include "tests/runtime/model/synthetic_model.h"

namespace precis::test {
namespace {

using nlohmann::json;
using namespace precis::runtime;  // NOLINT: this test is about most of it

testing::AssertionResult Says(const absl::Status& status, std::string_view words) {
  const std::string message(status.message());
  if (status.ok() || message.find(words) == std::string::npos) return testing::AssertionFailure() << "'" << message << "' has no '" << words << "'";
  return testing::AssertionSuccess();
}

TEST(Rows, KnownNamesAndLists) {
  auto row = ParseJsonRow(R"({"article": "a b", "highlights": "c", "source": "cnn", "n": 3})", "f:1");
  ASSERT_TRUE(row.ok());
  EXPECT_EQ(row->document, "a b");
  EXPECT_EQ(row->summary, "c");
  row = ParseJsonRow(R"({"source": ["a", "b"], "target": ["c"]})", "f:1");
  ASSERT_TRUE(row.ok());
  EXPECT_EQ(row->document, "a\nb");
  EXPECT_EQ(row->summary, "c");
  row = ParseJsonRow(R"({"text": "alone", "summary": null})", "f:1");
  ASSERT_TRUE(row.ok());
  EXPECT_EQ(row->summary, "");
}

TEST(Rows, BadOnesSayWhereAndWhat) {
  EXPECT_TRUE(Says(ParseJsonRow(R"({"title": "x"})", "data.jsonl:7").status(), "data.jsonl:7: no document"));
  EXPECT_TRUE(Says(ParseJsonRow("{\"article\": ", "data.jsonl:8").status(), "data.jsonl:8: is not valid JSON"));
  EXPECT_TRUE(Says(ParseJsonRow("[1]", "data.jsonl:9").status(), "must hold a JSON object"));
  EXPECT_TRUE(Says(ParseJsonRow(R"({"article": 3})", "d:1").status(), "\"article\" must be a string"));
  EXPECT_TRUE(Says(ParseJsonRow(R"({"article": ["a", 1]})", "d:1").status(), "list of strings"));
  EXPECT_TRUE(Says(ParseJsonRow(R"({"article": " "})", "d:1").status(), "the document is empty"));
}

TEST(Rows, FilesStopAtTheFirstBadRowOrSkipThem) {
  TempDir dir;
  WriteFile(dir.file("a.jsonl"), "{\"article\": \"one\"}\n\n{\"article\": 2}\n{\"article\": \"three\"}\r\n");
  WriteFile(dir.file("b.txt"), "four\nfive\n");
  WriteFile(dir.file("c.jsonl"), "{\"article\": \"\\ud800\"}\n");
  WriteFile(dir.file("d.csv"), "x\n");
  WriteFile(dir.file("empty.jsonl"), "\n");
  int64_t skipped = 0;
  EXPECT_TRUE(Says(ReadRows({dir.file("a.jsonl")}, false, &skipped).status(), "a.jsonl:3: \"article\" must be"));
  const auto rows = ReadRows({dir.file("a.jsonl"), dir.file("b.txt")}, true, &skipped);
  ASSERT_TRUE(rows.ok());
  EXPECT_EQ(skipped, 1);
  ASSERT_EQ(rows->size(), 4u);
  EXPECT_EQ((*rows)[1].document, "three");
  EXPECT_EQ((*rows)[3].document, "five");
  EXPECT_FALSE(ReadRows({dir.file("c.jsonl")}, false, &skipped).ok());
  EXPECT_TRUE(Says(ReadRows({dir.file("d.csv")}, false, &skipped).status(), "expected a .jsonl"));
  EXPECT_TRUE(Says(ReadRows({dir.file("none.jsonl")}, false, &skipped).status(), "none.jsonl: cannot be opened"));
  EXPECT_TRUE(Says(ReadRows({dir.file("empty.jsonl")}, false, &skipped).status(), "no rows"));
}

class DocumentsTest : public testing::Test {
 protected:
  DocumentsTest() {
    WriteByteTokenizer(dir_.path());
    tokenizer_ = *Tokenizer::Load(dir_.path());
  }
  TempDir dir_;
  std::shared_ptr<const Tokenizer> tokenizer_;
};

TEST_F(DocumentsTest, AreTemplateTextSummaryAndEnd) {
  const auto documents = EncodeRows({{"abcdefgh", "xyz"}, {"abcdefghijklmnopqrstuvw", ""}}, *tokenizer_, {.prefix = "<", .suffix = ">", .length = 12, .summary_tokens = 4});
  ASSERT_TRUE(documents.ok());
  ASSERT_EQ(documents->count(), 2);
  const auto text = [&](int64_t i) {
    std::vector<int32_t> tokens(documents->tokens.begin() + documents->begin[i], documents->tokens.begin() + documents->begin[i + 1]);
    EXPECT_EQ(tokens.back(), tokenizer_->end_of_text());
    tokens.pop_back();
    return tokenizer_->DecodeBytes(tokens);
  };
  EXPECT_EQ(text(0), "<abcdef> xy");  // 12 - 4 - 2 tokens of text; of the summary 4 with its end
  EXPECT_EQ(documents->summary_begin[0], 8);
  EXPECT_EQ(text(1), "abcdefghijk");
  EXPECT_EQ(documents->summary_begin[1], documents->length(1));
  EXPECT_TRUE(Says(EncodeRows({{"a", "b"}}, *tokenizer_, {.prefix = "", .suffix = ">>>", .length = 6, .summary_tokens = 4}).status(), "leaves no room"));
}

TEST_F(DocumentsTest, BatchesHoldEachDocumentOnceAnEpochWhole) {
  std::vector<TextRow> rows;
  for (int i = 0; i < 57; ++i) rows.push_back({std::string(1 + i % 13, static_cast<char>('a' + i % 26)) + std::to_string(i), "s"});
  const auto documents = EncodeRows(rows, *tokenizer_, {.prefix = "", .suffix = ">", .length = 32, .summary_tokens = 4});
  ASSERT_TRUE(documents.ok());
  const BatchOptions options = {.max_rows = 64, .document_weight = 0.5f, .summary_weight = 2, .seed = 9, .shard_documents = 10};
  BatchStream stream(&*documents, options, {});
  std::vector<std::vector<int32_t>> seen;
  while (stream.position().epoch == 0 && stream.position().index < documents->count()) {
    const Batch batch = stream.Next();
    ASSERT_LE(batch.rows(), 64);
    for (size_t s = 0; s < batch.begin.size(); ++s) {
      ASSERT_EQ(batch.begin[s], s == 0 ? 0 : batch.begin[s - 1] + batch.length[s - 1]);
      std::vector<int32_t> tokens(batch.tokens.begin() + batch.begin[s], batch.tokens.begin() + batch.begin[s] + batch.length[s]);
      tokens.push_back(batch.targets[batch.begin[s] + batch.length[s] - 1]);
      seen.push_back(tokens);
      for (int r = batch.begin[s]; r < batch.begin[s] + batch.length[s]; ++r) {
        EXPECT_EQ(batch.positions[r], r - batch.begin[s]);
        EXPECT_EQ(batch.weights[r], batch.in_summary[r] ? 2.0f : 0.5f);
        if (r + 1 < batch.begin[s] + batch.length[s]) {
          EXPECT_EQ(batch.targets[r], batch.tokens[r + 1]);
        }
      }
    }
  }
  ASSERT_GE(seen.size(), 57u);  // the epoch's last batch may hold documents of the next
  std::set<std::vector<int32_t>> distinct(seen.begin(), seen.begin() + 57);
  EXPECT_EQ(distinct.size(), 57u);
}

TEST_F(DocumentsTest, AStreamGoesOnFromAnyPosition) {
  std::vector<TextRow> rows(23, TextRow{"abc", "d"});
  for (int i = 0; i < 23; ++i) rows[i].document += std::to_string(i);
  const auto documents = EncodeRows(rows, *tokenizer_, {.prefix = "", .suffix = ">", .length = 32, .summary_tokens = 4});
  ASSERT_TRUE(documents.ok());
  const BatchOptions options = {.max_rows = 40, .seed = 3, .shard_documents = 5};
  BatchStream whole(&*documents, options, {});
  for (int i = 0; i < 30; ++i) {
    BatchStream from_here(&*documents, options, whole.position());
    ASSERT_EQ(whole.Next().tokens, from_here.Next().tokens) << i;
  }
  EXPECT_GT(whole.position().epoch, 1);
}

TEST(Order, IsAPermutationThatDependsOnSeedAndEpoch) {
  const auto a = EpochOrder(1000, 64, 1, 0), b = EpochOrder(1000, 64, 1, 1), c = EpochOrder(1000, 64, 2, 0);
  EXPECT_NE(a, b);
  EXPECT_NE(a, c);
  EXPECT_EQ(a, EpochOrder(1000, 64, 1, 0));
  EXPECT_EQ(std::set<int64_t>(a.begin(), a.end()).size(), 1000u);
  std::set<int64_t> shards;
  for (int i = 0; i < 64; ++i) shards.insert(a[i] / 64);
  EXPECT_LE(shards.size(), 2u);  // documents of a shard stay together (the last shard is short)
}

TEST(Schedules, HaveTheirShapes) {
  ScheduleOptions o = {.schedule = Schedule::kCosine, .rate = 1, .final_rate = 0.1, .warmup = 10, .cooldown = 20, .steps = 110};
  EXPECT_DOUBLE_EQ(RateAt(o, 1), 0.1);
  EXPECT_DOUBLE_EQ(RateAt(o, 10), 1);
  EXPECT_NEAR(RateAt(o, 60), 0.55, 1e-12);
  EXPECT_NEAR(RateAt(o, 110), 0.1, 1e-12);
  o.schedule = Schedule::kLinear;
  EXPECT_NEAR(RateAt(o, 35), 1 - 0.9 * 0.25, 1e-12);
  o.schedule = Schedule::kTrapezoid;
  EXPECT_DOUBLE_EQ(RateAt(o, 90), 1);
  EXPECT_NEAR(RateAt(o, 100), 0.55, 1e-12);
  EXPECT_NEAR(RateAt(o, 110), 0.1, 1e-12);
  o.schedule = Schedule::kConstant;
  EXPECT_DOUBLE_EQ(RateAt(o, 110), 1);
}

TEST(Metrics, Crc32cIsCastagnolis) {
  EXPECT_EQ(Crc32c("123456789"), 0xe3069283u);  // the check value of the catalogue of CRCs
  EXPECT_EQ(Crc32c(std::string(32, '\0')), 0x8a9136aau);  // RFC 3720, B.4
}

TEST(Metrics, JsonLinesKeepEarlierStepsAndDropLaterOnes) {
  TempDir dir;
  {
    auto files = MetricsFiles::Open(dir.path(), 0);
    ASSERT_TRUE(files.ok());
    for (int step = 1; step <= 5; ++step) ASSERT_TRUE(files->Add(step, {{"train/loss", 5.0 - step}, {"speed/mfu", 0.5}}).ok());
  }
  auto files = MetricsFiles::Open(dir.path(), 3);
  ASSERT_TRUE(files.ok());
  ASSERT_TRUE(files->Add(4, {{"train/loss", NAN}}).ok());
  ASSERT_TRUE(files->WriteCurves().ok());
  const std::string text = ReadFile(dir.file("metrics.jsonl"));
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 4);
  EXPECT_NE(text.find("{\"step\":4,\"train/loss\":null}"), std::string::npos) << text;
  EXPECT_NE(ReadFile(dir.file("metrics.prom")).find("precis_train_step 4\n"), std::string::npos);
  EXPECT_NE(ReadFile(dir.file("metrics.prom")).find("precis_train_train_loss NaN\n"), std::string::npos);
  const std::string svg = ReadFile(dir.file("loss.svg"));
  EXPECT_NE(svg.find("<polyline"), std::string::npos);
  EXPECT_EQ(svg.find("nan"), std::string::npos);
}

class CheckpointTest : public testing::Test {
 protected:
  CheckpointTest() : config_(*ParseConfig(SmallConfig({{"alibi", true}}).dump(), "config.json")), table_(config_), folder_(dir_.path(), {{"config.json", SmallConfig({{"alibi", true}}).dump()}}, false) {
    numbers_.weights = InitialWeights(table_, 2, 5);
    numbers_.first.assign(table_.total(), 0.0f);
    numbers_.second.assign(table_.total(), 0.0f);
    for (const Parameter& p : table_.all()) {
      for (int64_t i = p.offset; i < p.offset + p.count(); ++i) numbers_.first[i] = static_cast<float>(i), numbers_.second[i] = 1 / (1.0f + static_cast<float>(i));
    }
  }
  TrainerState At(int64_t step) { return {.step = step, .position = {2, 7}, .batches = 11, .tokens = 99, .best_evaluation = 3.25, .best_step = 4, .evaluations_without_gain = 1, .options = "{}"}; }

  TempDir dir_;
  CheckpointConfig config_;
  ParameterTable table_;
  CheckpointFolder folder_;
  CheckpointNumbers numbers_;
};

TEST_F(CheckpointTest, ComesBackToTheBit) {
  ASSERT_TRUE(folder_.Write(table_, numbers_, At(5), true, 2).ok());
  const auto state = folder_.ReadState();
  ASSERT_TRUE(state.ok()) << state.status();
  EXPECT_EQ(ToJson(*state), ToJson(At(5)));
  const auto numbers = folder_.ReadNumbers(table_);
  ASSERT_TRUE(numbers.ok()) << numbers.status();
  EXPECT_EQ(numbers->weights, numbers_.weights);
  EXPECT_EQ(numbers->first, numbers_.first);
  EXPECT_EQ(numbers->second, numbers_.second);
  const auto store = TensorStore::Open(dir_.file("last"));
  ASSERT_TRUE(store.ok()) << store.status();
  const auto weights = ReadWeights(*store, table_, false);
  ASSERT_TRUE(weights.ok()) << weights.status();
  EXPECT_EQ(*weights, numbers_.weights);
}

TEST_F(CheckpointTest, KeepsTheNewestAndTheBest) {
  for (int step = 1; step <= 6; ++step) ASSERT_TRUE(folder_.Write(table_, numbers_, At(step), step == 2, 2).ok());
  std::set<std::string> left;
  for (const auto& entry : std::filesystem::directory_iterator(dir_.file("checkpoints"))) left.insert(entry.path().filename());
  EXPECT_EQ(left, (std::set<std::string>{"step-00000002", "step-00000005", "step-00000006"}));
  EXPECT_EQ(std::filesystem::read_symlink(dir_.file("best")), "checkpoints/step-00000002");
  ASSERT_TRUE(folder_.Write(table_, numbers_, At(6), false, 2).ok()) << "the same step again";
  EXPECT_TRUE(folder_.ReadNumbers(table_).ok());
}

// A file that may not grow further stands for a full disk: the same path through write().
TEST_F(CheckpointTest, AFullDiskLeavesTheLastOneAlone) {
  ASSERT_TRUE(folder_.Write(table_, numbers_, At(1), false, 2).ok());
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small = {64 << 10, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const absl::Status status = folder_.Write(table_, numbers_, At(2), false, 2);
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
  EXPECT_TRUE(Says(status, "model.safetensors: cannot be written"));
  EXPECT_EQ(folder_.ReadState()->step, 1);
  EXPECT_TRUE(folder_.ReadNumbers(table_).ok());
  for (const auto& entry : std::filesystem::directory_iterator(dir_.file("checkpoints"))) EXPECT_EQ(entry.path().filename(), "step-00000001");
}

TEST_F(CheckpointTest, DamagedOnesAreRefused) {
  ASSERT_TRUE(folder_.Write(table_, numbers_, At(1), false, 2).ok());
  const std::string path = dir_.file("last/optimizer.safetensors"), whole = ReadFile(path);
  WriteFile(path, whole.substr(0, whole.size() - 4));
  EXPECT_FALSE(folder_.ReadNumbers(table_).ok());
  WriteFile(dir_.file("last/trainer_state.json"), "{\"step\": -1}");
  EXPECT_TRUE(Says(folder_.ReadState().status(), "\"step\" must be an integer"));
  EXPECT_FALSE(ParseTrainerState("{}", "s").ok());
}

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
