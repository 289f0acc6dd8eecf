// What is counted, kept, merged and stopped.
#include <cmath>
#include <fstream>
#include <random>

#include "absl/time/clock.h"
#include "tests/server/experiments/tracker_fixture.h"

namespace precis::server {
namespace {

using ::testing::HasSubstr;

TEST_F(TrackerTest, OutcomesAreCountedOnceAndCheckedWhole) {
  const auto tracker = Open(Quiet());
  const std::string arm = Request(tracker.get(), "u", "r1", Latency(0.5));
  auto first = Record(tracker.get(), OutcomeOf("r1", "thumbs", 1));
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(first->counted(), 1);
  EXPECT_EQ(first->arm(), arm);
  auto again = Record(tracker.get(), OutcomeOf("r1", "thumbs", 0));
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->counted(), 0);
  EXPECT_EQ(again->already_known(), 1);
  EXPECT_EQ(Record(tracker.get(), OutcomeOf("r1", "score", 3.5))->counted(), 1) << "another outcome of the same request";
  const auto error = [&](const precis::v1::RecordOutcomeRequest& request) { return std::string(Record(tracker.get(), request).status().message()); };
  EXPECT_THAT(error(OutcomeOf("r1", "smile", 1)), HasSubstr("outcome 'smile' is not known; a caller may give thumbs"));
  EXPECT_THAT(error(OutcomeOf("r1", "total_seconds", 1)), HasSubstr("is not known"));
  EXPECT_THAT(error(OutcomeOf("r1", "thumbs", 0.5)), HasSubstr("0 or 1 is allowed"));
  EXPECT_THAT(error(OutcomeOf("r1", "edit_ratio", 2)), HasSubstr("0 to 1 is allowed"));
  EXPECT_THAT(error(OutcomeOf("r1", "score", std::nan(""))), HasSubstr("is allowed"));
  EXPECT_THAT(error(OutcomeOf("", "thumbs", 1)), HasSubstr("request_id is empty"));
  EXPECT_EQ(Record(tracker.get(), OutcomeOf("r2", "thumbs", 1)).status().code(), absl::StatusCode::kNotFound);
  const auto report = tracker->Report("e");
  ASSERT_TRUE(report.ok());
  int64_t thumbs = 0;
  for (const auto& a : report->arms()) {
    for (const auto& q : a.outcomes()) thumbs += q.outcome() == "thumbs" ? q.count() : 0;
  }
  EXPECT_EQ(thumbs, 1);
}

TEST_F(TrackerTest, LateOutcomesAreTakenWithinTheWindow) {
  ExperimentTracker::Options options = Quiet();
  options.outcome_window = absl::Seconds(1);
  const auto tracker = Open(options);
  Request(tracker.get(), "u", "r1", Latency(1));
  EXPECT_TRUE(Record(tracker.get(), OutcomeOf("r1", "thumbs", 1)).ok());
  absl::SleepFor(absl::Milliseconds(2100));
  EXPECT_THAT(std::string(Record(tracker.get(), OutcomeOf("r1", "score", 1)).status().message()), HasSubstr("more than 1s ago"));
}

TEST_F(TrackerTest, OpenRequestsAreBounded) {
  ExperimentTracker::Options options = Quiet();
  options.max_open_requests = 100;
  const auto tracker = Open(options);
  for (int i = 0; i < 250; ++i) Request(tracker.get(), "u", StrCat("r", i), Latency(1));
  EXPECT_FALSE(Record(tracker.get(), OutcomeOf("r149", "thumbs", 1)).ok());
  EXPECT_TRUE(Record(tracker.get(), OutcomeOf("r150", "thumbs", 1)).ok());
}

TEST_F(TrackerTest, StateSurvivesARestart) {
  const std::string file = directory_ + "/state";
  precis::v1::Report before;
  {
    auto tracker = Open(Quiet(file));
    for (int i = 0; i < 500; ++i) Request(tracker.get(), StrCat("unit-", i % 200), StrCat("r", i), Latency(0.1 + 0.001 * i));
    EXPECT_TRUE(Record(tracker.get(), OutcomeOf("r7", "thumbs", 1)).ok());
    ASSERT_TRUE(tracker->Stop("e", "flash", "operator", "bad summaries").ok());
    tracker->OnShadowPair(experiment(), "flash", ShadowPair{0.1, 0.2, false, 0.5, 0.7, 3});
    before = *tracker->Report("e");
  }
  auto tracker = Open(Quiet(file));
  const precis::v1::Report after = *tracker->Report("e");
  EXPECT_EQ(after.SerializeAsString(), before.SerializeAsString());
  EXPECT_EQ(Requests(after), 500);
  EXPECT_THAT(tracker->WhyStopped(experiment(), "flash"), HasSubstr("operator: bad summaries"));
  EXPECT_EQ(tracker->WhyStopped(experiment(), "control"), "");
  EXPECT_EQ(Record(tracker.get(), OutcomeOf("r7", "thumbs", 0))->already_known(), 1);
  EXPECT_EQ(Record(tracker.get(), OutcomeOf("r8", "thumbs", 0))->counted(), 1);
  // Another salt is another experiment; the old one comes back with its old results.
  tracker->SetConfig(TwoArms("other"));
  EXPECT_EQ(Requests(*tracker->Report("e")), 0);
  EXPECT_EQ(Record(tracker.get(), OutcomeOf("r9", "thumbs", 0)).status().code(), absl::StatusCode::kNotFound);
  tracker->SetConfig(TwoArms());
  EXPECT_EQ(Requests(*tracker->Report("e")), 500);
  EXPECT_NE(tracker->WhyStopped(experiment(), "flash"), "");
}

TEST_F(TrackerTest, AStateFileIsHeldByOneProcessAndChecked) {
  const std::string file = directory_ + "/state";
  const auto tracker = Open(Quiet(file));
  const auto second = ExperimentTracker::Create(Quiet(file), {});
  EXPECT_EQ(second.status().code(), absl::StatusCode::kFailedPrecondition) << second.status();
  std::ofstream(directory_ + "/junk") << std::string(5000, 'x');
  EXPECT_EQ(ExperimentTracker::Create(Quiet(directory_ + "/junk"), {}).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(ExperimentTracker::Create(Quiet("/nowhere/state"), {}).status().message()), HasSubstr("its folder must exist"));
}

TEST_F(TrackerTest, ReplicasMergeToTheWhole) {
  const auto one = Open(Quiet()), other = Open(Quiet()), whole = Open(Quiet());
  for (int i = 0; i < 2000; ++i) {
    const std::string unit = StrCat("unit-", i % 300);
    Request(whole.get(), unit, StrCat("r", i), Latency(0.1 + 0.001 * (i % 97)));
    Request((i % 3 == 0 ? one : other).get(), unit, StrCat("r", i), Latency(0.1 + 0.001 * (i % 97)));
  }
  const precis::v1::Report merged = *one->Report("e", {*other->Results("e")}), expected = *whole->Report("e");
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(merged.arms(i).units(), expected.arms(i).units()) << "a unit that both saw counts once";
    EXPECT_EQ(merged.arms(i).requests(), expected.arms(i).requests());
    EXPECT_DOUBLE_EQ(merged.arms(i).outcomes(0).p99(), expected.arms(i).outcomes(0).p99());
  }
  EXPECT_NEAR(merged.arms(1).effects(0).low(), expected.arms(1).effects(0).low(), 1e-9);
  const auto parsed = ExperimentResults::Parse(other->Results("e")->Serialize());
  ASSERT_TRUE(parsed.ok());
  EXPECT_EQ(parsed->Serialize(), other->Results("e")->Serialize());
  EXPECT_FALSE(ExperimentResults::Parse("nonsense").ok());
}

TEST_F(TrackerTest, AGoodArmGetsAReadableVerdict) {
  const auto tracker = Open(Quiet());
  std::mt19937_64 random(1);
  std::lognormal_distribution<double> latency(-1, 0.4);
  for (int i = 0; i < 6000; ++i) {
    const std::string unit = StrCat("unit-", i % 600), id = StrCat("r", i);
    const bool flash = ChooseArm(experiment(), unit).name == "flash";
    Request(tracker.get(), unit, id, Latency(latency(random) * (flash ? 0.69 : 1)));
    if (i % 3 == 0) {
      ASSERT_TRUE(Record(tracker.get(), OutcomeOf(id, "thumbs", random() % 10 < 7 ? 1 : 0)).ok());
    }
  }
  tracker->Check();
  const precis::v1::Report report = *tracker->Report("e");
  const auto& arm = report.arms(1);
  EXPECT_THAT(arm.verdict(), ::testing::MatchesRegex("flash is [0-9.]+% faster at p50 of total_seconds, 95% always-valid interval [0-9.]+..[0-9.]+%; .*"
                                                     "thumbs: no difference beyond [0-9.]+ points; n = [0-9]+"));
  EXPECT_EQ(arm.effects(0).outcome(), "total_seconds");
  EXPECT_NEAR(arm.effects(0).lift(), -0.31, 0.05);
  EXPECT_LT(arm.effects(0).high(), 0);
  EXPECT_LT(arm.effects(0).adjusted_p_value(), 0.001);
  EXPECT_GT(arm.effects(0).units_needed_always_valid(), arm.effects(0).units_needed_fixed());
  EXPECT_FALSE(arm.effects(0).has_fixed()) << "no end was planned";
  EXPECT_EQ(report.history_size(), 1);
  EXPECT_TRUE(stops_.empty());
  EXPECT_FALSE(report.sample_ratio().alarm());
}

TEST_F(TrackerTest, FixedHorizonResultsAppearAtThePlannedEnd) {
  auto config = std::make_shared<ExperimentConfig>(*TwoArms());
  config->experiments[0].analysis.planned_units = 150;
  const auto tracker = Open(Quiet(), config);
  std::mt19937_64 random(1);
  std::lognormal_distribution<double> latency(-1, 0.4);
  const auto fixed = [&] {
    int n = 0;
    const precis::v1::Report report = *tracker->Report("e");
    for (const auto& effect : report.arms(1).effects()) n += effect.has_fixed();
    return n;
  };
  for (int i = 0; i < 220; ++i) Request(tracker.get(), StrCat("unit-", i), StrCat("r", i), Latency(latency(random)));
  EXPECT_EQ(fixed(), 0);
  for (int i = 220; i < 400; ++i) Request(tracker.get(), StrCat("unit-", i), StrCat("r", i), Latency(latency(random)));
  EXPECT_GE(fixed(), 3) << "p50, mean and the rank test";
}

TEST_F(TrackerTest, GuardrailsStopAnArmThatFails) {
  const auto tracker = Open(Quiet());
  for (int i = 0; i < 400; ++i) {
    const std::string unit = StrCat("unit-", i);
    Request(tracker.get(), unit, StrCat("r", i), ChooseArm(experiment(), unit).name == "flash" ? Failure() : Latency(1));
    if (i == 40) {
      tracker->Check();
      EXPECT_TRUE(stops_.empty()) << "too few units";
    }
  }
  tracker->Check();
  tracker->Check();
  ASSERT_EQ(stops_.size(), 1u);
  EXPECT_EQ(stops_[0].arm, "flash");
  EXPECT_EQ(stops_[0].guardrail, "error_rate");
  EXPECT_THAT(tracker->WhyStopped(experiment(), "flash"), HasSubstr("error_rate: errors exceed the control's by at least"));
  EXPECT_EQ(tracker->Report("e")->arms(1).state(), precis::v1::ARM_STATE_STOPPED);
  EXPECT_EQ(tracker->Report("e")->decisions(0).guardrail(), "error_rate");
}

TEST_F(TrackerTest, GuardrailsStopASlowArmAndAWrongSplit) {
  auto tracker = Open(Quiet());
  std::mt19937_64 random(1);
  std::lognormal_distribution<double> latency(-1, 0.4);
  for (int i = 0; i < 12000; ++i) {
    const std::string unit = StrCat("unit-", i % 2000);
    const bool slow = ChooseArm(experiment(), unit).name == "flash" && random() % 20 == 0;  // only its tail
    Request(tracker.get(), unit, StrCat("r", i), Latency(latency(random) * (slow ? 20 : 1)));
  }
  tracker->Check();
  ASSERT_EQ(stops_.size(), 1u);
  EXPECT_EQ(stops_[0].guardrail, "p99_ratio");
  stops_.clear();
  tracker = Open(Quiet());
  for (int i = 0; i < 4000; ++i) {  // a replica that loses a fifth of one arm's units
    const std::string unit = StrCat("unit-", i);
    if (ChooseArm(experiment(), unit).name == "flash" && i % 5 == 0) continue;
    Request(tracker.get(), unit, StrCat("r", i), Latency(latency(random)));
  }
  tracker->Check();
  ASSERT_EQ(stops_.size(), 1u);
  EXPECT_EQ(stops_[0].arm, "");
  EXPECT_EQ(stops_[0].guardrail, "sample_ratio");
  EXPECT_NE(tracker->WhyStopped(experiment(), "control"), "");
  EXPECT_TRUE(tracker->Report("e")->sample_ratio().alarm());
}

TEST_F(TrackerTest, EqualArmsAreLeftAlone) {
  const auto tracker = Open(Quiet());
  std::mt19937_64 random(2);
  std::lognormal_distribution<double> latency(-1, 0.8);
  for (int i = 0; i < 20000; ++i) {
    Request(tracker.get(), StrCat("unit-", random() % 3000), StrCat("r", i), random() % 50 == 0 ? Failure() : Latency(latency(random)));
    if (i % 1000 == 0) tracker->Check();
  }
  EXPECT_TRUE(stops_.empty()) << stops_[0].guardrail << stops_[0].detail;
}

TEST_F(TrackerTest, StoppingIsCheckedAndIdempotent) {
  const auto tracker = Open(Quiet());
  EXPECT_EQ(tracker->Stop("f", "", "operator", "x").code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(tracker->Stop("e", "nope", "operator", "x").code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(tracker->Stop("e", "control", "operator", "x").code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(tracker->Stop("e", "flash", "operator", "x").ok());
  EXPECT_TRUE(tracker->Stop("e", "flash", "operator", "y").ok());
  EXPECT_EQ(stops_.size(), 1u);
  EXPECT_THAT(tracker->WhyStopped(experiment(), "flash"), HasSubstr("x"));
}

TEST_F(TrackerTest, GuardrailsJudgeByTheServersTogether) {
  const auto config = TwoArms();
  const Experiment& experiment = config->experiments[0];
  const auto fill = [&](ExperimentTracker* tracker, int first) {
    for (int i = 0; i < 40; ++i) {
      const std::string unit = StrCat("unit-", first + i);
      const std::string arm = ChooseArm(experiment, unit).name;
      for (int j = 0; j < 3; ++j) tracker->OnRequest(experiment, arm, unit, StrCat(unit, "/", j), arm == "flash" ? Failure() : Latency(1));
    }
  };
  const auto open = [&]() -> std::unique_ptr<ExperimentTracker> {
    ExperimentTracker::Options options;
    options.check_interval = absl::Hours(1);
    auto tracker = ExperimentTracker::Create(options, {});
    if (tracker.ok()) (*tracker)->SetConfig(config);
    return tracker.ok() ? *std::move(tracker) : nullptr;
  };
  const auto one = open(), two = open();
  fill(one.get(), 0);
  fill(two.get(), 1000);
  // Some twenty units an arm are too few; forty are enough.
  one->Check();
  two->Check();
  EXPECT_EQ(one->WhyStopped(experiment, "flash") + two->WhyStopped(experiment, "flash"), "");
  one->OnPeers("e", "another fingerprint", {*two->Results("e")}, {});
  one->Check();
  EXPECT_EQ(one->WhyStopped(experiment, "flash"), "");
  one->OnPeers("e", experiment.Fingerprint(), {*two->Results("e"), ExperimentResults({1, 1, 1})}, {});
  one->Check();
  EXPECT_THAT(one->WhyStopped(experiment, "flash"), HasSubstr("error_rate: errors exceed"));
  // The peer takes the stop over; a stop of the control or of nobody's arm is none.
  std::vector<precis::v1::Decision> stops = one->Stops("e");
  ASSERT_EQ(stops.size(), 1u);
  stops.push_back(stops[0]);
  stops.back().set_arm("control");
  stops.push_back(stops[0]);
  stops.back().set_arm("no such");
  two->OnPeers("e", experiment.Fingerprint(), {}, stops);
  EXPECT_THAT(two->WhyStopped(experiment, "flash"), HasSubstr("(on a peer)"));
  EXPECT_EQ(two->WhyStopped(experiment, "control"), "");
  EXPECT_EQ(two->Stops("e").size(), 1u);
}

}  // namespace
}  // namespace precis::server
