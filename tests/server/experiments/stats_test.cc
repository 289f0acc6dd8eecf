// Merging, storing and the edges of the statistics library.
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "server/experiments/stats/grouped_quantiles.h"
#include "server/experiments/stats/inference.h"
#include "server/experiments/stats/rank_tests.h"
#include "server/experiments/stats/sample_ratio.h"

namespace precis::stats {
namespace {

template <typename T>
std::string Stored(const T& value) {
  Writer out;
  value.AppendTo(&out);
  return out.Take();
}

template <typename T>
T Restored(const T& value) {
  const std::string bytes = Stored(value);
  Reader in(bytes);
  T out = T::Read(&in);
  EXPECT_TRUE(in.done());
  EXPECT_EQ(Stored(out), bytes);
  // No shorter text is taken for a whole one.
  for (size_t size = 0; size < bytes.size(); size += 1 + bytes.size() / 50) {
    Reader cut(std::string_view(bytes).substr(0, size));
    (void)T::Read(&cut);
    EXPECT_FALSE(cut.done());
  }
  return out;
}

TEST(Stats, PartsMergeToTheWhole) {
  std::mt19937_64 random(1);
  std::lognormal_distribution<double> value(-1, 1);
  GroupedMoments moments, moment_parts[3];
  GroupedQuantiles quantiles, quantile_parts[3];
  SignedDifferences differences, difference_parts[3];
  for (int i = 0; i < 3000; ++i) {
    const int group = static_cast<int>(random() % kGroups), part = static_cast<int>(random() % 3);
    const double y = value(random);
    moments.Add(group, y, 2);
    moment_parts[part].Add(group, y, 2);
    quantiles.Add(group, y);
    quantile_parts[part].Add(group, y);
    differences.Add(std::log(y));
    difference_parts[part].Add(std::log(y));
  }
  for (int part : {1, 2}) {
    moment_parts[0].Merge(Restored(moment_parts[part]));
    quantile_parts[0].Merge(Restored(quantile_parts[part]));
    difference_parts[0].Merge(Restored(difference_parts[part]));
  }
  EXPECT_NEAR(RatioMean(moment_parts[0]).value, RatioMean(moments).value, 1e-12);
  EXPECT_NEAR(RatioMean(moment_parts[0]).se, RatioMean(moments).se, 1e-12);
  EXPECT_EQ(Stored(quantile_parts[0].Total()), Stored(quantiles.Total()));
  EXPECT_EQ(Stored(difference_parts[0]), Stored(differences));
  EXPECT_EQ(difference_parts[0].count(), 3000);
}

TEST(Stats, MemoryIsConstantWhateverTheTraffic) {
  std::mt19937_64 random(1);
  std::lognormal_distribution<double> value(0, 3);
  QuantileSketch sketch;
  UnitCensus census({0.5, 0.5});
  size_t bins = 0, bytes = 0;
  for (int i = 0; i < 400000; ++i) {
    sketch.Add(value(random));
    census.Add(random(), i % 2);
    if (i == 100000) {
      bins = sketch.counts().size();
      bytes = Stored(census).size();
    }
  }
  EXPECT_LE(sketch.counts().size(), bins + 300) << "only the tails widen it";
  EXPECT_LE(Stored(census).size(), 2 * bytes);
  EXPECT_LE(census.sampled()[0] + census.sampled()[1], static_cast<int64_t>(UnitCensus::kCapacity));
  sketch.Add(0);
  sketch.Add(1e300);
  sketch.Add(-1);
  sketch.Add(std::nan(""));
  EXPECT_LE(sketch.counts().size(), 2500u);
}

TEST(Stats, CensusCountsUnitsOnceHoweverOftenTheyAsk) {
  std::mt19937_64 random(3);
  std::vector<uint64_t> units;
  for (int i = 0; i < 3000; ++i) units.push_back(random());
  UnitCensus one({0.5, 0.5}), other({0.5, 0.5});
  for (int round = 0; round < 3; ++round) {
    for (size_t i = 0; i < units.size(); ++i) (i % 3 == 0 ? one : other).Add(units[i], static_cast<int>(units[i] & 1));
    for (size_t i = 0; i < 500; ++i) one.Add(units[i], static_cast<int>(units[i] & 1));  // seen by both
  }
  one.Merge(Restored(other));
  EXPECT_EQ(one.Units(0) + one.Units(1), 3000);
  for (int i = 0; i < 197000; ++i) {
    const uint64_t unit = random();
    one.Add(unit, static_cast<int>(unit & 1));
  }
  EXPECT_NEAR(static_cast<double>(one.Units(0) + one.Units(1)), 200000, 8000);
  EXPECT_GT(one.p_value(), 0.01);
}

TEST(Stats, SampleRatioNoticesAWrongSplit) {
  std::mt19937_64 random(5);
  UnitCensus census({0.5, 0.5});
  int units = 0;
  while (census.p_value() > 0.001 && units < 100000) {
    const uint64_t unit = random();
    census.Add(unit, unit % 100 < 47 ? 0 : 1);  // 47 : 53
    ++units;
  }
  EXPECT_LT(units, 15000);
  EXPECT_GT(units, 500);
}

TEST(Stats, AlwaysValidIntervalsAreWiderAndAgreeWithTheirPValues) {
  for (const double value : {0.0, 0.01, 0.05, 0.2}) {
    for (const double se : {0.001, 0.01, 0.05}) {
      const Difference difference = {value, se, 100};
      const Interval always = AlwaysValid(difference, 0.05, 0.05), fixed = FixedHorizon(difference, 0.05);
      EXPECT_LT(always.low, fixed.low);
      EXPECT_GT(always.high, fixed.high);
      EXPECT_EQ(always.p_value < 0.05, always.low > 0 || always.high < 0) << value << " " << se;
    }
  }
  EXPECT_TRUE(std::isinf(AlwaysValid({0.1, 0, 0}, 0.05, 0.05).high)) << "nothing is known without an error";
}

TEST(Stats, EmptyAndTinyInputsGiveNoInterval) {
  EXPECT_EQ(RatioMean({}).count, 0);
  GroupedMoments one;
  one.Add(3, 1.5);
  EXPECT_EQ(RatioMean(one).value, 1.5);
  EXPECT_EQ(RatioMean(one).se, 0);
  GroupedQuantiles few;
  for (int i = 0; i < 10; ++i) few.Add(i, 1);
  EXPECT_EQ(LogQuantile(few, 0.5).se, 0) << "ten observations";
  EXPECT_EQ(LogQuantile({}, 0.5).count, 0);
  EXPECT_EQ(MannWhitneyClustered({}, few).se, 0);
  EXPECT_EQ(SignedDifferences().Wilcoxon().p_value, 1);
  EXPECT_TRUE(Holm({}).empty());
  EXPECT_EQ(UnitsNeeded(0, 0.1, 0.1, 0.05, 0.8).fixed, 0);
}

TEST(Stats, RandomBytesAreRefusedOrRead) {
  std::mt19937_64 random(11);
  for (int i = 0; i < 3000; ++i) {
    std::string bytes(random() % 200, '\0');
    for (char& c : bytes) c = static_cast<char>(random());
    Reader a(bytes), b(bytes), c(bytes), d(bytes);
    (void)GroupedMoments::Read(&a);
    (void)GroupedQuantiles::Read(&b);
    (void)SignedDifferences::Read(&c);
    (void)UnitCensus::Read(&d);
  }
}

}  // namespace
}  // namespace precis::stats
