#include "server/experiments/experiment.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "absl/time/clock.h"
#include "server/experiments/assignment.h"
#include "server/experiments/experiment_yaml.h"
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

AssignmentFacts Facts(std::string_view unit, std::string_view model = "", std::string_view backend = "") {
  AssignmentFacts facts;
  facts.unit_id = unit;
  facts.request_id = "request";
  facts.model = model;
  facts.requested_backend = backend;
  facts.now = absl::FromUnixSeconds(1'750'000'000);
  return facts;
}

TEST(AssignmentTest, ForcedRequestsAndOtherModelsKeepTheirs) {
  ExperimentConfig config;
  config.experiments = {MakeExperiment()};
  EXPECT_EQ(AssignArm(config, Facts("u", "", "flash")).reason, AssignmentReason::kForced);
  EXPECT_EQ(AssignArm(config, Facts("u", "", "flash")).arm, nullptr);
  EXPECT_EQ(AssignArm(config, Facts("u", "m", "")).reason, AssignmentReason::kAssigned);
  config.experiments[0].model = "news";
  EXPECT_EQ(AssignArm(config, Facts("u", "m", "")).reason, AssignmentReason::kNone);
  EXPECT_EQ(AssignArm(config, Facts("u", "news", "")).reason, AssignmentReason::kAssigned);
  EXPECT_EQ(AssignArm(ExperimentConfig(), Facts("u", "", "")).reason, AssignmentReason::kNone);
  EXPECT_EQ(AssignArm(ExperimentConfig(), Facts("u", "", "flash")).reason, AssignmentReason::kForced);
}

TEST(AssignmentTest, ARampTakesUnitsInAndNeverMovesThem) {
  Experiment e = MakeExperiment();
  std::map<int, int> inside;
  for (int i = 0; i < 5000; ++i) {
    const std::string unit = StrCat("unit-", i);
    bool before = false;
    const std::string arm = ChooseArm(e, unit).name;
    for (const uint32_t share : {0, 10'000, 50'000, 200'000, 500'000, 1'000'000}) {
      e.ramp = {{absl::InfinitePast(), share}};
      ExperimentConfig config;
      config.experiments = {e};
      const AssignmentResult result = AssignArm(config, Facts(unit));
      const bool in = result.arm != nullptr;
      EXPECT_TRUE(in || !before) << "a unit left at share " << share;
      if (in) {
        EXPECT_EQ(result.arm->name, arm);
      }
      before = in;
      inside[static_cast<int>(share)] += in ? 1 : 0;
    }
  }
  EXPECT_EQ(inside[0], 0);
  EXPECT_NEAR(inside[200'000], 1000, 150);
  EXPECT_EQ(inside[1'000'000], 5000);
}

TEST(AssignmentTest, TimesEligibilityAndUnits) {
  Experiment e = MakeExperiment();
  const absl::Time now = Facts("").now;
  e.start = now - absl::Seconds(1);
  e.end = now + absl::Seconds(1);
  e.ramp = {{now - absl::Hours(1), 0}, {now, 1'000'000}};
  e.eligible = {{"x-tenant", {"a", "b"}}};
  e.unit = "metadata:x-user";
  ExperimentConfig config;
  config.experiments = {e};
  std::map<std::string, std::string> metadata = {{"x-tenant", "a"}, {"x-user", "user-6"}};
  const auto assign = [&](absl::Duration later) {
    AssignmentFacts facts = Facts("ignored");
    facts.now += later;
    facts.metadata = [&](const std::string& key) { return metadata[key]; };
    return AssignArm(config, facts);
  };
  EXPECT_EQ(assign(absl::ZeroDuration()).arm->name, "a") << "as the vector of user-6 says";
  EXPECT_EQ(assign(absl::ZeroDuration()).unit, "user-6");
  EXPECT_EQ(assign(-absl::Milliseconds(1)).experiment, nullptr) << "the ramp is at 0";
  EXPECT_EQ(assign(absl::Seconds(1)).experiment, nullptr) << "over";
  EXPECT_EQ(assign(-absl::Seconds(2)).experiment, nullptr) << "not begun";
  metadata["x-tenant"] = "c";
  EXPECT_EQ(assign(absl::ZeroDuration()).experiment, nullptr);
  metadata = {{"x-tenant", "b"}};
  EXPECT_EQ(assign(absl::ZeroDuration()).experiment, nullptr) << "no unit";
  config.experiments[0].unit = "request";
  EXPECT_EQ(assign(absl::ZeroDuration()).unit, "request");
}

TEST(AssignmentTest, LayersKeepExperimentsApart) {
  Experiment e = MakeExperiment(), f = MakeExperiment();
  f.name = "f";
  e.layer = f.layer = "attention";
  e.slot_high = 299;
  f.slot_low = 300;
  f.slot_high = 499;
  ExperimentConfig config;
  config.experiments = {e, f};
  ASSERT_TRUE(ValidateExperiments(config).ok());
  std::map<std::string, int> counts;
  for (int i = 0; i < 10'000; ++i) {
    const std::string unit = StrCat("unit-", i);
    const AssignmentResult result = AssignArm(config, Facts(unit));
    ++counts[result.experiment == nullptr ? "none" : result.experiment->name];
    std::swap(config.experiments[0], config.experiments[1]);
    const AssignmentResult swapped = AssignArm(config, Facts(unit));
    EXPECT_EQ(result.experiment == nullptr, swapped.experiment == nullptr) << "the order means nothing";
    if (result.arm != nullptr) {
      EXPECT_EQ(result.arm->name, swapped.arm->name);
    }
  }
  EXPECT_NEAR(counts["e"], 3000, 200);
  EXPECT_NEAR(counts["f"], 2000, 200);
  config.experiments[0].slot_high = 300;
  config.experiments[1].slot_low = 0;
  EXPECT_THAT(std::string(ValidateExperiments(config).message()), HasSubstr("may take the same requests"));
}

TEST(AssignmentTest, SwitchbackGivesASliceToAllAndWashesOut) {
  Experiment e = MakeExperiment();
  e.batching = Batching::kSwitchback;
  e.slice = absl::Minutes(10);
  e.washout = absl::Minutes(1);
  ExperimentConfig config;
  config.experiments = {e};
  std::map<std::string, int> arms;
  for (int slice = 0; slice < 300; ++slice) {
    AssignmentFacts facts = Facts("u");
    facts.now = absl::FromUnixSeconds(600 * (2'000'000 + slice));
    const AssignmentResult first = AssignArm(config, facts);
    EXPECT_EQ(first.reason, AssignmentReason::kWashout);
    EXPECT_EQ(first.unit, StrCat("slice-", 2'000'000 + slice));
    facts.unit_id = "v";
    facts.now += absl::Seconds(60);
    EXPECT_EQ(AssignArm(config, facts).reason, AssignmentReason::kAssigned);
    EXPECT_EQ(AssignArm(config, facts).arm->name, first.arm->name);
    ++arms[first.arm->name];
  }
  EXPECT_EQ(arms.size(), 3u);
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
  EXPECT_THAT(error([](List l) { l.push_back(l[0]); l[1].name = "f"; }), HasSubstr("'e' may take the same requests"));
  EXPECT_THAT(error([](List l) { l[0].arms[1].attention_backend = "standard"; }), HasSubstr("say aa: true"));
  EXPECT_THAT(error([](List l) { l[0].aa = true; }), HasSubstr("A/A test (aa: true), but arms 'a' and 'b' differ"));
  EXPECT_THAT(error([](List l) { l[0].control = "z"; }), HasSubstr("control 'z' is none of its arms"));
  EXPECT_THAT(error([](List l) { l[0].shadow_arms = {"a"}; }), HasSubstr("is the control"));
  EXPECT_THAT(error([](List l) { l[0].unit = "user"; }), HasSubstr("give unit_id, request or metadata:KEY"));
  EXPECT_THAT(error([](List l) { l[0].salt = std::string("a\0b", 3); }), HasSubstr("control character"));
  EXPECT_THAT(error([](List l) { l[0].end = l[0].start; }), HasSubstr("end is not after its start"));
  EXPECT_THAT(error([](List l) { l[0].ramp = {{absl::UnixEpoch(), 5}, {absl::Now(), 4}}; }), HasSubstr("must stay in"));
  EXPECT_THAT(error([](List l) { l[0].batching = Batching::kSwitchback; l[0].washout = l[0].slice; }), HasSubstr("at most half"));
  EXPECT_THAT(error([](List l) { l[0].layer = "l"; l[0].slot_low = 1000; }), HasSubstr("0 to 999 exist"));
}

TEST(ExperimentConfigTest, FingerprintChangesWithWhatObservationsMean) {
  const Experiment e = MakeExperiment();
  const auto changed = [&](auto change) {
    Experiment other = e;
    change(other);
    return other.Fingerprint() != e.Fingerprint();
  };
  EXPECT_TRUE(changed([](Experiment& x) { x.salt = "y"; }));
  EXPECT_TRUE(changed([](Experiment& x) { x.arms[0].weight = 2; }));
  EXPECT_TRUE(changed([](Experiment& x) { x.arms[0].options["top_k"] = 2; }));
  EXPECT_TRUE(changed([](Experiment& x) { x.eligible = {{"a", {"b"}}}; }));
  EXPECT_TRUE(changed([](Experiment& x) { x.unit = "request"; }));
  EXPECT_FALSE(changed([](Experiment& x) { x.ramp = {{absl::InfinitePast(), 5}}; }));
  EXPECT_FALSE(changed([](Experiment& x) { x.guardrails.p99_ratio = 5; }));
  EXPECT_FALSE(changed([](Experiment& x) { x.end = absl::Now(); }));
}

TEST(ExperimentConfigTest, EveryKeyIsReadAndWrittenBack) {
  const std::string text =
      "experiments:\n"
      "  - name: e\n    salt: s\n    model: news\n    control: b\n    unit: metadata:x-user\n"
      "    eligible: {x-tenant: [a, b], x-tier: gold}\n    layer: {name: l, slots: [10, 20]}\n"
      "    start: 2025-01-01T00:00:00Z\n    end: 2026-01-01T00:00:00+01:00\n"
      "    ramp: [{from: 2025-01-01T00:00:00Z, share: 1%}, {from: 2025-02-01T00:00:00Z, share: 0.5}]\n"
      "    batching: switchback\n    slice: 5m\n    washout: 20s\n"
      "    arms:\n      - {name: a, attention_backend: flash, weight: 3, options: {max_new_tokens: 64, temperature: 0.5}}\n"
      "      - {name: b, attention_backend: standard}\n"
      "    guardrails: {error_rate_increase: 1%, p99_ratio: 1.5, p99_seconds: 10, sample_ratio: off}\n"
      "    shadow: {sampling: 2%, arms: a}\n"
      "    analysis: {alpha: 0.01, mde: 3%, mde_absolute: 1%, min_units: 50, planned_units: 1000, primary: time_to_first_token_seconds}\n";
  const auto config = ParseExperimentsText(text, "x.yaml", true);
  ASSERT_TRUE(config.ok()) << config.status();
  const Experiment& e = config->experiments[0];
  EXPECT_EQ(e.control_arm().name, "b");
  EXPECT_EQ(e.eligible[1].second, std::vector<std::string>{"gold"});
  EXPECT_EQ(e.slot_high, 20);
  EXPECT_EQ(e.ramp[0].share_ppm, 10'000u);
  EXPECT_EQ(e.ramp[1].share_ppm, 500'000u);
  EXPECT_EQ(e.end - e.start, absl::Hours(365 * 24 - 1));
  EXPECT_EQ(e.arms[0].options.at("max_new_tokens"), 64);
  EXPECT_EQ(e.guardrails.p99_ratio, 1.5);
  EXPECT_FALSE(e.guardrails.sample_ratio);
  EXPECT_EQ(e.shadow_ppm, 20'000u);
  EXPECT_EQ(e.analysis.planned_units, 1000);
  const std::string written = FormatExperiments(*config);
  const auto again = ParseExperimentsText(written, "y.yaml", true);
  ASSERT_TRUE(again.ok()) << again.status() << written;
  EXPECT_EQ(FormatExperiments(*again), written);
  EXPECT_EQ(again->experiments[0].Fingerprint(), e.Fingerprint());
  EXPECT_EQ(again->experiments[0].end, e.end);
  EXPECT_EQ(again->experiments[0].analysis.primary, e.analysis.primary);
}

TEST(ExperimentConfigTest, ABadFileSaysLineAndReason) {
  const auto error = [](const std::string& lines) {
    const std::string text = "experiments:\n  - name: e\n    arms: [{name: a, attention_backend: flash}, {name: b, attention_backend: standard}]\n" + lines;
    return std::string(ParseExperimentsText(text, "x.yaml", true).status().message());
  };
  EXPECT_EQ(error(""), "");
  EXPECT_EQ(error("    batching: homogeneous\n"), "");
  EXPECT_THAT(error("    start: tomorrow\n"), HasSubstr("x.yaml:4: start 'tomorrow' is not a time such as"));
  EXPECT_THAT(error("    share: 120%\n"), HasSubstr("x.yaml:4: share '120%' is not a number from 0 to 1"));
  EXPECT_THAT(error("    ramp: [{share: 5%, form: x}]\n"), HasSubstr("x.yaml:4: unknown key 'form' in a step of the ramp"));
  EXPECT_THAT(error("    batching: bunched\n"), HasSubstr("mixed, homogeneous or switchback"));
  EXPECT_THAT(error("    slice: fast\n"), HasSubstr("x.yaml:4: slice 'fast' is not a duration"));
  EXPECT_THAT(error("    layer: {name: l, slots: [0, 1000]}\n"), HasSubstr("slot '1000' is not a whole number from 0 to 999"));
  EXPECT_THAT(error("    eligible: {X-Tenant: a}\n"), HasSubstr("'X-Tenant' is no metadata key"));
  EXPECT_THAT(error("    share: 5%\n    ramp: [{share: 5%}]\n"), HasSubstr("share or ramp, not both"));
  EXPECT_THAT(error("    aa: perhaps\n"), HasSubstr("true or false"));
  EXPECT_THAT(error("    analysis: {primary: smiles}\n"), HasSubstr("total_seconds, time_to_first_token_seconds or"));
  EXPECT_THAT(error("models: []\n"), HasSubstr("x.yaml:4: unknown key; this file holds"));
  EXPECT_THAT(error("    [\n"), HasSubstr("x.yaml:"));
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
