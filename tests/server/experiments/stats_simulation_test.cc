// The statistics as statisticians check them: many experiments whose truth is known, with units that ask often, hang together over time and
// differ in how much they ask, looked at again and again. 1,000 experiments; PRECIS_TEST_FULL=1 runs 10,000.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <random>
#include <thread>
#include <vector>

#include "server/experiments/stats/distributions.h"
#include "server/experiments/stats/grouped_quantiles.h"
#include "server/experiments/stats/inference.h"
#include "server/experiments/stats/sample_ratio.h"

namespace precis::stats {
namespace {

constexpr double kAlpha = 0.05;
constexpr int kLookEvery = 100;
constexpr int kMinUnits = 100;  // in each arm, before anything is shown

int Experiments() { return std::getenv("PRECIS_TEST_FULL") != nullptr ? 10000 : 1000; }

struct Unit {
  int arm, group;
  double effect, state, prompt, activity;
};

struct Arm {
  GroupedMoments latency, errors;
  GroupedQuantiles quantiles;
  int units = 0;
};

// Traffic of one experiment: log-normal latencies with a unit effect (sd 0.4), an AR(1) part within the unit (sd 0.3, 0.9), noise (sd 0.3) and
// a part explained by the prompt's length; log-normal activity; units that arrive over time.
class Traffic {
 public:
  Traffic(uint64_t seed, int units, double log_lift) : random_(seed), log_lift_(log_lift) {
    for (int i = 0; i < units; ++i) {
      // As in the server: independent hashes of the unit choose arm and group.
      units_.push_back({static_cast<int>(random_() & 1), static_cast<int>(random_() % kGroups), 0.4 * normal_(random_),
                        normal_(random_), std::exp(6 + 0.5 * normal_(random_)), std::exp(0.8 * normal_(random_))});
      cumulated_.push_back((i > 0 ? cumulated_.back() : 0) + units_.back().activity);
    }
    seen_.assign(units_.size(), false);
  }

  // One request at time 0 <= t <= 1.
  void Step(double t, std::array<Arm, 2>* arms) {
    const auto arrived = std::max<size_t>(2, static_cast<size_t>((0.3 + 0.7 * t) * static_cast<double>(units_.size())));
    const double at = uniform_(random_) * cumulated_[arrived - 1];
    const size_t i = std::lower_bound(cumulated_.begin(), cumulated_.begin() + static_cast<int64_t>(arrived), at) - cumulated_.begin();
    Unit& unit = units_[i];
    Arm& arm = (*arms)[static_cast<size_t>(unit.arm)];
    if (!seen_[i]) {
      seen_[i] = true;
      ++arm.units;
    }
    unit.state = 0.9 * unit.state + std::sqrt(1 - 0.81) * normal_(random_);
    const double prompt = unit.prompt * std::exp(0.3 * normal_(random_));
    const double latency = std::exp(-3 + unit.effect + 0.3 * unit.state + 0.3 * normal_(random_) + 0.8 * std::log(prompt / 400) +
                                    unit.arm * log_lift_);
    arm.latency.Add(unit.group, latency, prompt);
    arm.quantiles.Add(unit.group, latency);
    arm.errors.Add(unit.group, uniform_(random_) < 0.02 * std::exp(unit.effect) ? 1 : 0);
  }

 private:
  std::mt19937_64 random_;
  const double log_lift_;
  std::normal_distribution<double> normal_;
  std::uniform_real_distribution<double> uniform_;
  std::vector<Unit> units_;
  std::vector<double> cumulated_;
  std::vector<bool> seen_;
};

enum Outcome { kMean, kAdjusted, kMedian, kP95, kErrors, kRank, kOutcomes };
constexpr const char* kNames[] = {"mean", "mean adjusted for the prompt", "median", "p95", "error rate", "Mann-Whitney"};

Difference Compare(Outcome outcome, const std::array<Arm, 2>& arms) {
  switch (outcome) {
    case kMean: return LogRatio(RatioMean(arms[1].latency), RatioMean(arms[0].latency));
    case kAdjusted: {
      const AdjustedPair pair = Adjust(arms[0].latency, arms[1].latency);
      return LogRatio(pair.treatment, pair.control);
    }
    case kMedian: return LogQuantileRatio(arms[1].quantiles, arms[0].quantiles, 0.5);
    case kP95: return LogQuantileRatio(arms[1].quantiles, arms[0].quantiles, 0.95);
    case kErrors: return Subtract(RatioMean(arms[1].errors), RatioMean(arms[0].errors));
    default: return MannWhitneyClustered(arms[1].quantiles, arms[0].quantiles);
  }
}

struct Tally {
  std::array<int, kOutcomes> ever_missed{};   // an always-valid interval left the truth out at some look
  std::array<int, kOutcomes> found{};         // ... left 0 out at some look
  std::array<int, kOutcomes> fixed_missed{};  // the fixed-horizon interval at the end left the truth out
  std::array<int, kOutcomes> fixed_found{};
  double squared_se = 0;                      // of the adjusted mean at the end
  int experiments = 0;
};

void RunOne(uint64_t seed, double log_lift, int units, int requests, bool peek, Tally* tally) {
  Traffic traffic(seed, units, log_lift);
  std::array<Arm, 2> arms;
  std::array<bool, kOutcomes> missed{}, found{};
  for (int i = 0; i < requests; ++i) {
    traffic.Step(static_cast<double>(i) / requests, &arms);
    const bool look = (i + 1) % kLookEvery == 0 && std::min(arms[0].units, arms[1].units) >= kMinUnits;
    if (!look || (!peek && i + 1 < requests)) continue;
    for (int o = 0; o < kRank; ++o) {
      const Difference difference = Compare(static_cast<Outcome>(o), arms);
      if (!(difference.se > 0)) continue;
      const double truth = o == kErrors ? 0 : log_lift;
      const Interval interval = AlwaysValid(difference, o == kErrors ? 0.02 : 0.1, kAlpha);
      missed[o] = missed[o] || truth < interval.low || truth > interval.high;
      found[o] = found[o] || interval.low > 0 || interval.high < 0;
    }
  }
  for (int o = 0; o < kOutcomes; ++o) {
    const Difference difference = Compare(static_cast<Outcome>(o), arms);
    const Interval interval = FixedHorizon(difference, kAlpha);
    const double truth = o == kErrors || o == kRank ? 0 : log_lift;
    tally->ever_missed[o] += missed[o];
    tally->found[o] += found[o];
    tally->fixed_missed[o] += truth < interval.low || truth > interval.high;
    tally->fixed_found[o] += interval.low > 0 || interval.high < 0;
    if (o == kAdjusted) tally->squared_se += difference.se * difference.se;
  }
  ++tally->experiments;
}

Tally Simulate(int experiments, double log_lift, int units, int requests, bool peek, uint64_t seed) {
  const int threads = 2;
  std::vector<Tally> tallies(threads);
  std::vector<std::thread> workers;
  for (int t = 0; t < threads; ++t) {
    workers.emplace_back([=, &tallies] {
      for (int i = t; i < experiments; i += threads) RunOne(seed + static_cast<uint64_t>(i), log_lift, units, requests, peek, &tallies[t]);
    });
  }
  for (std::thread& worker : workers) worker.join();
  for (int t = 1; t < threads; ++t) {
    for (int o = 0; o < kOutcomes; ++o) {
      tallies[0].ever_missed[o] += tallies[t].ever_missed[o];
      tallies[0].found[o] += tallies[t].found[o];
      tallies[0].fixed_missed[o] += tallies[t].fixed_missed[o];
      tallies[0].fixed_found[o] += tallies[t].fixed_found[o];
    }
    tallies[0].squared_se += tallies[t].squared_se;
    tallies[0].experiments += tallies[t].experiments;
  }
  return tallies[0];
}

double Share(int count, const Tally& tally) { return static_cast<double>(count) / tally.experiments; }
double SamplingError(double p, int n) { return std::sqrt(p * (1 - p) / n); }

TEST(StatsSimulation, ArmsThatAreEqual) {
  const int n = Experiments();
  const Tally tally = Simulate(n, 0, 600, 4000, /*peek=*/true, 1);
  for (int o = 0; o < kOutcomes; ++o) {
    const double always = Share(tally.ever_missed[o], tally), fixed = Share(tally.fixed_missed[o], tally);
    std::printf("A/A, %d experiments, %s: false positives %.2f%% always valid with peeking, %.2f%% fixed horizon at one look\n", n, kNames[o],
                100 * always, 100 * fixed);
    if (o != kRank) {
      EXPECT_LE(always, kAlpha) << kNames[o];
    }
    EXPECT_NEAR(fixed, kAlpha, 0.01 + (n < 10000 ? 2.5 * SamplingError(kAlpha, n) : 0)) << kNames[o];
  }
}

TEST(StatsSimulation, ArmsThatDiffer) {
  const int n = Experiments();
  const double log_lift = -0.15;
  const Tally tally = Simulate(n, log_lift, 600, 4000, /*peek=*/true, 1000003);
  for (int o : {kMean, kAdjusted, kMedian, kP95}) {
    const double always = Share(tally.ever_missed[o], tally), fixed = Share(tally.fixed_missed[o], tally);
    std::printf("14%% faster, %d experiments, %s: coverage %.2f%% always valid, %.2f%% fixed horizon; power %.1f%% always valid, %.1f%% fixed\n", n,
                kNames[o], 100 - 100 * always, 100 - 100 * fixed, 100 * Share(tally.found[o], tally), 100 * Share(tally.fixed_found[o], tally));
    EXPECT_LE(always, kAlpha) << kNames[o];
    EXPECT_NEAR(fixed, kAlpha, 0.01 + (n < 10000 ? 2.5 * SamplingError(kAlpha, n) : 0)) << kNames[o];
  }
  // The covariate pays: more power from the same traffic.
  EXPECT_GT(tally.fixed_found[kAdjusted], tally.fixed_found[kMean]);
  // The power is what the calculator promised from the variance.
  const double se = std::sqrt(tally.squared_se / tally.experiments);
  const double promised = NormalCdf(-log_lift / se - NormalQuantile(1 - kAlpha / 2));
  std::printf("power by the calculator: %.1f%%\n", 100 * promised);
  EXPECT_NEAR(Share(tally.fixed_found[kAdjusted], tally), promised, 0.03 + 2.5 * SamplingError(promised, n));
}

TEST(StatsSimulation, TailsThatAreEqual) {
  // p99 needs more requests, and is what guardrails look at.
  const int n = Experiments() / 5;
  int always = 0, fixed = 0;
  for (int i = 0; i < n; ++i) {
    Traffic traffic(2000003 + static_cast<uint64_t>(i), 600, 0);
    std::array<Arm, 2> arms;
    bool missed = false;
    for (int request = 0; request < 10000; ++request) {
      traffic.Step(request / 1e4, &arms);
      if ((request + 1) % 500 != 0) continue;
      const Difference difference = LogQuantileRatio(arms[1].quantiles, arms[0].quantiles, 0.99);
      const Interval interval = AlwaysValid(difference, 0.1, kAlpha);
      missed = missed || interval.low > 0 || interval.high < 0;
    }
    const Interval interval = FixedHorizon(LogQuantileRatio(arms[1].quantiles, arms[0].quantiles, 0.99), kAlpha);
    always += missed;
    fixed += interval.low > 0 || interval.high < 0;
  }
  std::printf("A/A, %d experiments, p99: false positives %.2f%% always valid with peeking, %.2f%% fixed horizon\n", n, 100.0 * always / n, 100.0 * fixed / n);
  EXPECT_LE(always, kAlpha * n);
  EXPECT_NEAR(fixed, kAlpha * n, 0.02 * n + 2.5 * n * SamplingError(kAlpha, n));
}

TEST(StatsSimulation, PlannedSampleSizesReachTheirPower) {
  // Independent units of variance 1: as many as the calculator says, at the lift that it was asked for.
  const int n = Experiments();
  std::mt19937_64 random(7);
  std::normal_distribution<double> normal;
  const double effect = 0.2, tau = 0.2;
  const SampleSize size = UnitsNeeded(1, effect, tau, kAlpha, 0.8);
  for (const bool always : {false, true}) {
    const double units = static_cast<double>(always ? size.always_valid : size.fixed);
    const double se = std::sqrt(2 / units);
    int found = 0;
    for (int i = 0; i < n; ++i) {
      const Difference difference = {effect + se * normal(random), se, 1e6};
      const Interval interval = always ? AlwaysValid(difference, tau, kAlpha) : FixedHorizon(difference, kAlpha);
      found += interval.low > 0;
    }
    const double power = static_cast<double>(found) / n;
    std::printf("%s: %.0f units an arm, power %.1f%% (80%% asked for)\n", always ? "always valid" : "fixed horizon", units, 100 * power);
    EXPECT_NEAR(power, 0.8, 3 * SamplingError(0.8, n));
  }
  EXPECT_GT(size.always_valid, size.fixed);
  EXPECT_LT(size.always_valid, 3 * size.fixed);
}

TEST(StatsSimulation, SampleRatioAlarms) {
  const int n = Experiments();
  int alarms = 0, found = 0;
  std::mt19937_64 random(9);
  for (int i = 0; i < n; ++i) {
    UnitCensus even({0.7, 0.3}), skewed({0.5, 0.5});
    for (int unit = 0; unit < 6000; ++unit) {  // beyond the capacity: the sample is thinned
      const uint64_t hash = random(), other = random();
      even.Add(hash, other % 1000 < 700 ? 0 : 1);
      if (i < n / 10) skewed.Add(hash, other % 1000 < 550 ? 0 : 1);
    }
    // p_value is the smallest over all looks.
    alarms += even.p_value() <= kAlpha;
    found += i < n / 10 && skewed.p_value() <= 0.001;
  }
  std::printf("sample ratio: false alarms %.2f%% at 5%% with a look after every unit; 55:45 found in %.1f%% at 0.1%%\n", 100.0 * alarms / n,
              1000.0 * found / n);
  EXPECT_LE(alarms, kAlpha * n);
  EXPECT_GE(found, 0.95 * (n / 10));
}

}  // namespace
}  // namespace precis::stats
