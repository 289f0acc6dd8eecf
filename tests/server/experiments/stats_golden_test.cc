// The statistics library against scipy and statsmodels: data/stats_golden.json, made by make_stats_golden.py.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "server/experiments/stats/distributions.h"
#include "server/experiments/stats/grouped_quantiles.h"
#include "server/experiments/stats/inference.h"
#include "server/experiments/stats/rank_tests.h"
#include "server/experiments/stats/sample_ratio.h"

namespace precis::stats {
namespace {

const nlohmann::json& Golden() {
  static const auto* const golden = [] {
    std::ifstream stream(PRECIS_SOURCE_DIR "/tests/server/experiments/data/stats_golden.json");
    return new nlohmann::json(nlohmann::json::parse(stream));
  }();
  return *golden;
}

void ExpectClose(double ours, double theirs, double tolerance = 1e-9) {
  EXPECT_NEAR(ours, theirs, tolerance * std::max(1.0, std::abs(theirs)));
}

TEST(StatsGolden, Distributions) {
  for (const auto& c : Golden()["normal"]) ExpectClose(NormalQuantile(c["p"]), c["z"]);
  for (const auto& c : Golden()["student"]) ExpectClose(StudentTQuantile(c["p"], c["df"]), c["t"]);
  for (const auto& c : Golden()["student_p"]) ExpectClose(TwoSidedStudentTP(c["t"], c["df"]), c["p"]);
}

TEST(StatsGolden, ClusterRobustMeanIsThatOfStatsmodels) {
  const auto& golden = Golden()["clustered"];
  GroupedMoments arm;
  for (const auto& row : golden["rows"]) arm.Add(row[0], row[1], row[2]);
  const Estimate mean = RatioMean(arm);
  ExpectClose(mean.value, golden["mean"]);
  ExpectClose(mean.se, golden["se"]);
  EXPECT_EQ(mean.count, golden["rows"].size());
}

TEST(StatsGolden, CovariateAdjustmentIsTheCoefficientOfOls) {
  const auto& golden = Golden()["ancova"];
  GroupedMoments arms[2];
  const char* names[] = {"control", "treatment"};
  for (int arm = 0; arm < 2; ++arm) {
    int group = 0;
    for (const auto& row : golden[names[arm]]) arms[arm].Add(group++, row[0], row[1]);
  }
  const AdjustedPair adjusted = Adjust(arms[0], arms[1]);
  ExpectClose(adjusted.theta, golden["theta"]);
  ExpectClose(adjusted.treatment.value - adjusted.control.value, golden["difference"]);
  EXPECT_LT(adjusted.control.se, 0.7 * RatioMean(arms[0]).se) << "the covariate explains three quarters of the variance";
}

TEST(StatsGolden, FixedHorizonIntervalIsWelchs) {
  const auto& golden = Golden()["welch"];
  GroupedMoments arms[2];
  int group = 0;
  for (const double y : golden["control"]) arms[0].Add(group++, y);
  group = 0;
  for (const double y : golden["treatment"]) arms[1].Add(group++, y);
  const Difference difference = Subtract(RatioMean(arms[1]), RatioMean(arms[0]));
  const Interval interval = FixedHorizon(difference, 0.05);
  ExpectClose(difference.degrees, golden["degrees"]);
  ExpectClose(interval.low, golden["low"]);
  ExpectClose(interval.high, golden["high"]);
  ExpectClose(interval.p_value, golden["p"]);
}

TEST(StatsGolden, RankTests) {
  const auto& mann_whitney = Golden()["mann_whitney"];
  QuantileSketch x, y;
  for (const double value : mann_whitney["x"]) x.Add(value);
  for (const double value : mann_whitney["y"]) y.Add(value);
  const RankTest test = MannWhitney(x, y);
  ExpectClose(test.statistic, mann_whitney["u"]);
  ExpectClose(test.p_value, mann_whitney["p"]);

  const auto& wilcoxon = Golden()["wilcoxon"];
  SignedDifferences differences;
  for (const double d : wilcoxon["d"]) differences.Add(d);
  const RankTest signed_rank = differences.Wilcoxon();
  ExpectClose(signed_rank.statistic, wilcoxon["statistic"]);
  ExpectClose(signed_rank.p_value, wilcoxon["p"]);
}

TEST(StatsGolden, WilsonAndHolm) {
  for (const auto& c : Golden()["wilson"]) {
    const Interval interval = Wilson(c["k"], c["n"], 0.05);
    ExpectClose(interval.low, c["low"]);
    ExpectClose(interval.high, c["high"]);
  }
  const std::vector<double> adjusted = Holm(Golden()["holm"]["p"].get<std::vector<double>>());
  for (size_t i = 0; i < adjusted.size(); ++i) ExpectClose(adjusted[i], Golden()["holm"]["adjusted"][i]);
}

TEST(StatsGolden, SampleRatioFactorIsThatOfDirichletMultinomial) {
  for (const auto& c : Golden()["dirichlet"]) {
    ExpectClose(SampleRatioLogBayesFactor(c["counts"], c["shares"]), c["log_factor"], 1e-7);
  }
}

TEST(StatsGolden, SampleSizeIsThatOfStatsmodels) {
  for (const auto& c : Golden()["power"]) {
    const double effect = c["effect"], n = c["n"];
    // statsmodels' two-sided power counts the far tail too, which is nothing here.
    EXPECT_NEAR(static_cast<double>(UnitsNeeded(1, effect, effect, 0.05, c["power"]).fixed), std::ceil(n), 1 + 1e-4 * n);
  }
}

TEST(StatsGolden, QuantilesAreWithinTheStatedError) {
  const auto& golden = Golden()["quantiles"];
  QuantileSketch sketch;
  for (const double value : golden["values"]) sketch.Add(value);
  std::vector<double> sorted = golden["values"];
  std::sort(sorted.begin(), sorted.end());
  for (const auto& c : golden["at"]) {
    const double p = c["p"], found = sketch.Quantile(p);
    // A value of that rank, give or take one rank, is within the stated error.
    const auto rank = static_cast<size_t>(p * static_cast<double>(sorted.size()));
    EXPECT_GE(found, sorted[rank - 1] * (1 - 2 * QuantileSketch::kRelativeError));
    EXPECT_LE(found, sorted[std::min(rank + 1, sorted.size() - 1)] * (1 + 2 * QuantileSketch::kRelativeError));
  }
  for (double value = 1e-8; value < 1e11; value *= 1.37) {
    const int bin = QuantileSketch::BinOf(value);
    EXPECT_NEAR(QuantileSketch::Middle(bin), value, 1.0001 * QuantileSketch::kRelativeError * value);
    EXPECT_LE(value, QuantileSketch::UpperBound(bin) * (1 + 1e-12));
  }
}

}  // namespace
}  // namespace precis::stats
