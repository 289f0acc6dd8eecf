// Scores that no peer package computes, and the statistics.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "client/eval/score/baselines.h"
#include "client/eval/score/pair_scorer.h"
#include "client/eval/stats/random.h"
#include "client/eval/stats/resampling.h"
#include "client/eval/text/words.h"

namespace precis::eval {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

Faithfulness Check(std::string_view source, std::string_view summary) { return CheckFaithfulness(SplitWords(source), SplitWords(summary)); }

TEST(FaithfulnessTest, NumbersAreComparedByValue) {
  const Faithfulness found = Check("It cost $1,250.50 for five men in the 1990s; 3rd of 12.", "1250.5 dollars, 5 people, 1990, 3, 12 and 1,300.");
  EXPECT_EQ(found.numbers, 6);
  EXPECT_THAT(found.unsupported_numbers, ElementsAre("1,300"));
}

TEST(FaithfulnessTest, NamesMustStandInTheSource) {
  const Faithfulness found = Check("president barack obama met Angela Merkel in Berlin.", "Barack Obama met Francois Hollande in Berlin. He left. Merkel stayed.");
  EXPECT_EQ(found.names, 4);  // Barack Obama, Francois Hollande, Berlin, Merkel
  EXPECT_THAT(found.unsupported_names, ElementsAre("Francois Hollande"));
}

TEST(FaithfulnessTest, OrdinaryWordsAtASentencesBeginningAreNoNames) {
  EXPECT_THAT(Check("The police came.", "Officers came. However, I left.").unsupported_names, IsEmpty());
  EXPECT_THAT(Check("x", "").unsupported_names, IsEmpty());
}

TEST(ExtractiveTest, SpansNoveltyAndCompression) {
  const std::vector<uint32_t> source = {1, 2, 3, 4, 5, 6, 7, 8}, summary = {2, 3, 4, 9, 7, 8};
  const Extractive found = CompareWithSource(source, summary);
  EXPECT_DOUBLE_EQ(found.coverage, 5.0 / 6);
  EXPECT_DOUBLE_EQ(found.density, (9.0 + 4.0) / 6);
  EXPECT_DOUBLE_EQ(found.mean_span, 2.5);
  EXPECT_EQ(found.longest_span, 3);
  EXPECT_DOUBLE_EQ(found.novelty[0], 1.0 / 6);
  EXPECT_DOUBLE_EQ(found.novelty[1], 2.0 / 5);
  EXPECT_DOUBLE_EQ(found.compression, 8.0 / 6);
  EXPECT_EQ(CompareWithSource(source, {}).coverage, 0);
}

// By the definition, trying every place.
TEST(ExtractiveTest, SpansAreTheLongestAtEachPlace) {
  Random random(3);
  for (int round = 0; round < 500; ++round) {
    std::vector<uint32_t> source, summary;
    for (uint64_t n = random.Below(30); n > 0; --n) source.push_back(1 + static_cast<uint32_t>(random.Below(4)));
    for (uint64_t n = random.Below(20); n > 0; --n) summary.push_back(1 + static_cast<uint32_t>(random.Below(5)));
    size_t at = 0;
    for (const Span& span : CopiedSpans(source, summary)) {
      const auto longest = [&](size_t i) {
        size_t best = 0;
        for (size_t j = 0; j < source.size(); ++j) {
          size_t n = 0;
          while (i + n < summary.size() && j + n < source.size() && summary[i + n] == source[j + n]) ++n;
          best = std::max(best, n);
        }
        return best;
      };
      for (; at < static_cast<size_t>(span.begin); ++at) EXPECT_EQ(longest(at), 0u);
      EXPECT_EQ(longest(at), static_cast<size_t>(span.length));
      at += span.length;
    }
  }
}

TEST(RepetitionTest, CountsWhatStoodBefore) {
  const Repetition found = CountRepetition(std::vector<uint32_t>{1, 2, 1, 2, 3});
  EXPECT_DOUBLE_EQ(found[0], 2.0 / 5);
  EXPECT_DOUBLE_EQ(found[1], 1.0 / 4);
  EXPECT_DOUBLE_EQ(found[2], 0);
}

TEST(BaselinesTest, SentencesLeadAndOracle) {
  const std::string text = "Mr. Smith of the U.S. came. \"He left!\" they said. Did it cost 3.5 million? Yes. The end.";
  EXPECT_THAT(SplitSentences(text), ElementsAre("Mr. Smith of the U.S. came.", "\"He left!\"", "they said.", "Did it cost 3.5 million?", "Yes.", "The end."));
  EXPECT_EQ(Lead(text, 2), "Mr. Smith of the U.S. came.\n\"He left!\"");
  EXPECT_EQ(Oracle("Cats sleep. Dogs bark loudly. Birds sing. Fish swim deep.", {"Fish swim deep and dogs bark loudly"}, 3), "Dogs bark loudly.\nFish swim deep.");
  EXPECT_EQ(Oracle("Cats sleep.", {"nothing shared"}, 3), "");
  EXPECT_EQ(Lead("", 3), "");
}

TEST(PairScorerTest, ThreadsDoNotChangeTheScores) {
  std::vector<Pair> pairs;
  for (int i = 0; i < 300; ++i) {
    pairs.push_back({{"The cats number " + std::to_string(i % 7) + " were running home."}, "A cat runs home " + std::to_string(i % 5), "Source text " + std::to_string(i)});
  }
  const auto one = ScorePairs(pairs, 1), many = ScorePairs(pairs, 4);
  for (size_t i = 0; i < pairs.size(); ++i) {
    EXPECT_EQ(one[i].rouge.rougeLsum.fmeasure, many[i].rouge.rougeLsum.fmeasure);
    EXPECT_EQ(one[i].bleu.matches, many[i].bleu.matches);
  }
}

TEST(StatsTest, IntervalsCoverAsOftenAsTheySay) {
  Random random(11);
  int covered = 0;
  constexpr int kRounds = 400;
  for (int round = 0; round < kRounds; ++round) {
    std::vector<double> values;
    for (int i = 0; i < 60; ++i) values.push_back(random.Unit() + random.Unit() + random.Unit());  // mean 1.5
    const Interval interval = BootstrapInterval(MeanSample(values), 0.95, 400, round);
    covered += interval.low <= 1.5 && 1.5 <= interval.high;
  }
  EXPECT_NEAR(static_cast<double>(covered) / kRounds, 0.94, 0.03);
}

TEST(StatsTest, RandomisationKeepsItsLevelAndFindsDifferences) {
  Random random(12);
  int rejected = 0, found = 0;
  constexpr int kRounds = 400;
  for (int round = 0; round < kRounds; ++round) {
    std::vector<double> a, b, c;
    for (int i = 0; i < 40; ++i) {
      const double document = 5 * random.Unit();  // documents differ more than systems do
      a.push_back(document + random.Unit());
      b.push_back(document + random.Unit());
      c.push_back(document + random.Unit() + 0.3);
    }
    rejected += ComparePaired(MeanSample(a), MeanSample(b), 0.95, 200, round).p < 0.05;
    const PairedResult shifted = ComparePaired(MeanSample(c), MeanSample(a), 0.95, 200, round);
    found += shifted.p < 0.05;
  }
  EXPECT_LT(rejected, kRounds * 0.085);
  EXPECT_GT(rejected, kRounds * 0.015);
  EXPECT_GT(found, kRounds * 0.9);
  const PairedResult same = ComparePaired(MeanSample({1, 2, 3}), MeanSample({1, 2, 3}), 0.95, 200, 1);
  EXPECT_EQ(same.p, 1);
  EXPECT_EQ(same.difference, 0);
}

TEST(StatsTest, HolmPercentilesAndPowers) {
  EXPECT_THAT(HolmAdjust(std::vector<double>{0.04, 0.01, 0.03}), ElementsAre(testing::DoubleEq(0.06), testing::DoubleEq(0.03), testing::DoubleEq(0.06)));
  EXPECT_DOUBLE_EQ(Percentile(std::vector<double>{1, 2, 3, 4}, 50), 2.5);
  EXPECT_DOUBLE_EQ(Percentile(std::vector<double>{7}, 99), 7);
  std::vector<double> x, y;
  for (double n = 16; n <= 2048; n *= 2) x.push_back(n), y.push_back(3e-6 * n * n);
  const PowerFit fit = FitPower(x, y);
  ASSERT_TRUE(fit.valid);
  EXPECT_NEAR(fit.exponent, 2, 1e-9);
  EXPECT_NEAR(fit.factor, 3e-6, 1e-12);
  EXPECT_FALSE(FitPower(std::vector<double>{5, 5, 5}, std::vector<double>{1, 2, 3}).valid);
}

}  // namespace
}  // namespace precis::eval
