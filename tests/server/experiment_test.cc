#include "server/experiments/experiment.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "server/text.h"

namespace precis::server {
namespace {

using ::testing::HasSubstr;

Experiment MakeExperiment() {
  Experiment e;
  e.name = "e";
  e.salt = "flash-vs-standard";
  e.arms = {{"a", 1, "standard", ""}, {"b", 3, "flash", ""}, {"c", 6, "flash_alibi", ""}};
  return e;
}

// From Python: int.from_bytes(hashlib.sha256(salt + b"\0" + unit).digest()[:8], "big"), and hash * 10 >> 64 for the arm.
TEST(AssignmentTest, HashVectors) {
  EXPECT_EQ(AssignmentHash("", ""), 0x6e340b9cffb37a98u);
  EXPECT_EQ(AssignmentHash("flash-vs-standard", "user-1"), 0x93ea503f302a9219u);
  EXPECT_EQ(AssignmentHash("flash-vs-standard", "user-2"), 0xe998994179417adeu);
  EXPECT_EQ(AssignmentHash("salt", "Zo\xc3\xab"), 0xea2d86bc29b328f0u);
  EXPECT_EQ(AssignmentHash("salt", std::string(256, 'x')), 0x5e35c607593a7c8cu);
  const Experiment e = MakeExperiment();
  EXPECT_EQ(ChooseArm(e, "user-1").name, "c");
  EXPECT_EQ(ChooseArm(e, "user-2").name, "c");
  EXPECT_EQ(ChooseArm(e, "user-3").name, "c");
  EXPECT_EQ(ChooseArm(e, "user-4").name, "c");
  EXPECT_EQ(ChooseArm(e, "user-5").name, "c");
  EXPECT_EQ(ChooseArm(e, "user-6").name, "a");
}

TEST(AssignmentTest, SharesFollowTheWeights) {
  const Experiment e = MakeExperiment();
  constexpr int kUnits = 100'000;
  std::map<std::string, int> counts;
  for (int i = 0; i < kUnits; ++i) ++counts[ChooseArm(e, StrCat("unit-", i)).name];
  for (const Arm& arm : e.arms) {
    const double p = arm.weight / 10.0;
    const double sigma = std::sqrt(kUnits * p * (1 - p));
    EXPECT_NEAR(counts[arm.name], kUnits * p, 5 * sigma) << arm.name;
  }
}

TEST(AssignmentTest, StickyAndIndependentOfOtherSalts) {
  Experiment e = MakeExperiment(), other = MakeExperiment();
  other.salt = "another";
  int same = 0;
  for (int i = 0; i < 10'000; ++i) {
    const std::string unit = StrCat("unit-", i);
    ASSERT_EQ(ChooseArm(e, unit).name, ChooseArm(MakeExperiment(), unit).name);
    same += ChooseArm(e, unit).name == ChooseArm(other, unit).name ? 1 : 0;
  }
  EXPECT_NEAR(same, 10'000 * (0.01 + 0.09 + 0.36), 250);  // as two independent draws would agree
}

TEST(AssignmentTest, WeightZeroGetsNothing) {
  Experiment e = MakeExperiment();
  e.arms[0].weight = 0;
  e.arms[2].weight = 0;
  for (int i = 0; i < 1000; ++i) ASSERT_EQ(ChooseArm(e, StrCat(i)).name, "b");
}

TEST(AssignmentTest, ForcedRequestsAndOtherModelsKeepTheirs) {
  ExperimentConfig config;
  config.experiments = {MakeExperiment()};
  EXPECT_EQ(AssignArm(config, "u", "", "flash").reason, AssignmentReason::kForced);
  EXPECT_EQ(AssignArm(config, "u", "", "flash").arm, nullptr);
  EXPECT_EQ(AssignArm(config, "u", "m", "").reason, AssignmentReason::kAssigned);
  config.experiments[0].model = "news";
  EXPECT_EQ(AssignArm(config, "u", "m", "").reason, AssignmentReason::kNone);
  EXPECT_EQ(AssignArm(config, "u", "news", "").reason, AssignmentReason::kAssigned);
  EXPECT_EQ(AssignArm(ExperimentConfig(), "u", "", "").reason, AssignmentReason::kNone);
  EXPECT_EQ(AssignArm(ExperimentConfig(), "u", "", "flash").reason, AssignmentReason::kForced);
}

TEST(ExperimentConfigTest, ValidationNamesWhatIsWrong) {
  const auto error = [](auto change) {
    ExperimentConfig config;
    config.experiments = {MakeExperiment()};
    change(config.experiments);
    return std::string(ValidateExperiments(config).message());
  };
  using List = std::vector<Experiment>&;
  EXPECT_EQ(error([](List) {}), "");
  EXPECT_THAT(error([](List l) { l[0].name = "a b"; }), HasSubstr("experiment 'a b'"));
  EXPECT_THAT(error([](List l) { l[0].arms.resize(1); }), HasSubstr("1 arms given; 2 to 16"));
  EXPECT_THAT(error([](List l) { l[0].arms[1].name = "a"; }), HasSubstr("arm 'a' is given twice"));
  EXPECT_THAT(error([](List l) { l[0].arms[1].weight = 1'000'001; }), HasSubstr("has weight 1000001"));
  EXPECT_THAT(error([](List l) { l[0].arms[1].attention_backend = ""; }), HasSubstr("names no attention_backend"));
  EXPECT_THAT(error([](List l) { for (Arm& a : l[0].arms) a.weight = 0; }), HasSubstr("all 0"));
  EXPECT_THAT(error([](List l) { l[0].salt.assign(257, 'x'); }), HasSubstr("257 bytes"));
  EXPECT_THAT(error([](List l) { l.push_back(l[0]); }), HasSubstr("given twice"));
  EXPECT_THAT(error([](List l) { l.push_back(l[0]); l[1].name = "f"; }), HasSubstr("can never apply"));
}

TEST(ExperimentStoreTest, PublishRaisesTheGenerationAndRefusesWhole) {
  ExperimentStore store{ExperimentConfig()};
  const auto before = store.snapshot();
  ExperimentConfig config;
  config.experiments = {MakeExperiment()};
  ASSERT_TRUE(store.Publish(config).ok());
  EXPECT_EQ(store.snapshot()->generation, before->generation + 1);
  EXPECT_TRUE(before->experiments.empty());  // requests in flight keep theirs
  config.experiments[0].arms.clear();
  EXPECT_FALSE(store.Publish(config).ok());
  EXPECT_EQ(store.snapshot()->generation, before->generation + 1);
  EXPECT_EQ(store.snapshot()->experiments[0].arms.size(), 3u);
}

}  // namespace
}  // namespace precis::server
