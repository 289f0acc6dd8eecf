// Schedules, metrics' formats and checkpoints of the trainer.
#include <sys/resource.h>
#include <sys/stat.h>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <filesystem>
#include <set>

#include "gtest/gtest.h"
#include "runtime/model/mapped_file.h"
#include "runtime/training/checkpoint.h"
#include "runtime/training/files.h"
#include "runtime/training/metrics.h"
#include "runtime/training/safetensors_writer.h"
#include "runtime/training/schedule.h"
#include "tests/runtime/model/synthetic_model.h"
#include "tests/runtime/training/status_says.h"

namespace precis::test {
namespace {

using namespace precis::runtime;  // NOLINT: this test is about most of it

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

}  // namespace
}  // namespace precis::test
