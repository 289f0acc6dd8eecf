#include "runtime/sampling/sampler.h"

#include <cmath>
#include <limits>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/sampling/philox.h"

namespace precis::runtime {
namespace {

using Words = std::array<uint32_t, 4>;

// Known answers of the authors' library, Random123 (kat_vectors).
TEST(PhiloxTest, KnownAnswers) {
  EXPECT_EQ(Philox4x32({0, 0, 0, 0}, {0, 0}), (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(Philox4x32({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}),
            (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(Philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

int32_t Sample(std::vector<float> logits, const GenerationOptions& options, std::vector<int32_t> generated = {},
               std::vector<int32_t> prompt = {}, int32_t end_of_text = -1) {
  SamplingContext context{&options, prompt, generated, end_of_text};
  return SampleToken(absl::MakeSpan(logits), context);
}

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

TEST(SamplerTest, GreedyTakesTheLowestIdAmongEqualsAndNeverNan) {
  EXPECT_EQ(Sample({1, 3, 2, 3}, {}), 1);
  EXPECT_EQ(Sample({kNan, -1, -2}, {}), 1);
  EXPECT_EQ(Sample({0, kInf, kInf}, {.temperature = 1}), 1);
  EXPECT_EQ(Sample({kNan, kNan}, {.temperature = 1}), 0);
}

TEST(SamplerTest, RepetitionPenaltyCoversPromptAndSummaryOnce) {
  GenerationOptions options{.repetition_penalty = 2};
  EXPECT_EQ(Sample({4, 3, 1}, options, {0}), 1);           // 2 3 1
  EXPECT_EQ(Sample({4, 3, 1}, options, {}, {0, 0, 0}), 1);  // once, however often it occurs
  EXPECT_EQ(Sample({-1, -1.5, -9}, options, {0}), 1);       // -2 -1.5 -9
  EXPECT_EQ(Sample({4, 3, 1}, options, {7, -3}), 0);        // ids outside the vocabulary are ignored
}

// A thread keeps its working memory between calls; nothing of an earlier call may show.
TEST(SamplerTest, CallsDoNotRememberEachOther) {
  const GenerationOptions penalty{.repetition_penalty = 2};
  EXPECT_EQ(Sample({4, 3, 1}, penalty, {0}), 1);
  EXPECT_EQ(Sample({4, 3, 1}, penalty, {}), 0);
  EXPECT_EQ(Sample({4, 3, 1}, penalty, {0}), 1);
  const GenerationOptions all{.temperature = 1, .top_k = 3, .top_p = 0.99f, .repetition_penalty = 1.1f};
  const int32_t small = Sample({1, 2, 3, 4}, all, {1});
  Sample(std::vector<float>(1000, 1.0f), all, {7, 900});
  EXPECT_EQ(Sample({1, 2, 3, 4}, all, {1}), small);
}

TEST(SamplerTest, NoRepeatNgramLooksAtTheSummaryOnly) {
  GenerationOptions options{.no_repeat_ngram_size = 2};
  EXPECT_EQ(Sample({0, 9, 5}, options, {0, 1, 0}), 2);         // 0 1 has been
  EXPECT_EQ(Sample({0, 9, 5}, options, {0}, {0, 1, 0}), 1);    // the prompt doesn't count
  EXPECT_EQ(Sample({0, 9, 5}, {.no_repeat_ngram_size = 1}, {1}), 2);
  EXPECT_EQ(Sample({0, 9, 5}, {.no_repeat_ngram_size = 3}, {0, 1, 0}), 1);
}

TEST(SamplerTest, EndOfTextIsHeldOff) {
  GenerationOptions options{.min_new_tokens = 2};
  EXPECT_EQ(Sample({9, 1}, options, {1}, {}, 0), 1);
  EXPECT_EQ(Sample({9, 1}, options, {1, 1}, {}, 0), 0);
}

// Frequencies over many steps (each step has its own random number) against the probabilities: chi-squared.
double ChiSquared(const std::vector<float>& logits, GenerationOptions options, const std::vector<double>& expected,
                  int draws) {
  std::vector<int> counts(logits.size());
  std::vector<int32_t> generated;
  for (int i = 0; i < draws; ++i) {
    ++counts[Sample(logits, options, generated)];
    generated.push_back(0);
  }
  double sum = 0;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (expected[i] == 0) {
      EXPECT_EQ(counts[i], 0) << "token " << i << " must not be chosen";
      continue;
    }
    const double goal = expected[i] * draws;
    sum += (counts[i] - goal) * (counts[i] - goal) / goal;
  }
  return sum;
}

const std::vector<float> kLogits = {std::log(0.4f), std::log(0.1f), std::log(0.3f), std::log(0.2f)};

// The limits are chi-squared's 99.99% points for 3, 2 and 1 degrees of freedom.
TEST(SamplerTest, DistributionFollowsTemperature) {
  EXPECT_LT(ChiSquared(kLogits, {.temperature = 1, .seed = 7}, {.4, .1, .3, .2}, 20000), 21.1);
  const double z = .16 + .01 + .09 + .04;  // temperature 0.5 squares the probabilities
  EXPECT_LT(ChiSquared(kLogits, {.temperature = .5, .seed = 8}, {.16 / z, .01 / z, .09 / z, .04 / z}, 20000), 21.1);
}

TEST(SamplerTest, TopKKeepsTheLikeliestAndTies) {
  EXPECT_LT(ChiSquared(kLogits, {.temperature = 1, .top_k = 2, .seed = 9}, {4 / 7., 0, 3 / 7., 0}, 20000), 15.2);
  EXPECT_LT(ChiSquared({1, 0, 0, -1}, {.temperature = 1, .top_k = 2, .seed = 9},
                       {std::exp(1) / (std::exp(1) + 2), 1 / (std::exp(1) + 2), 1 / (std::exp(1) + 2), 0}, 20000),
            18.5);
}

TEST(SamplerTest, TopPKeepsTheSmallestSetThatReachesIt) {
  EXPECT_LT(ChiSquared(kLogits, {.temperature = 1, .top_p = .65f, .seed = 3}, {4 / 7., 0, 3 / 7., 0}, 20000), 15.2);
  EXPECT_LT(ChiSquared(kLogits, {.temperature = 1, .top_p = .75f, .seed = 3}, {4 / 9., 0, 3 / 9., 2 / 9.}, 20000),
            18.5);
  EXPECT_LT(ChiSquared(kLogits, {.temperature = 1, .top_p = .01f, .seed = 3}, {1, 0, 0, 0}, 2000), 1e-9);
}

TEST(SamplerTest, TopPBreaksTiesByLowestIdPastTheSortedHead) {
  // 1,000 equal tokens: half of the weight is exactly the first 500 (more than one block of the partial sort).
  std::vector<float> logits(1000, 0.f);
  std::vector<int32_t> generated;
  int largest = 0;
  for (int i = 0; i < 4000; ++i) {
    largest = std::max(largest, Sample(logits, {.temperature = 1, .top_p = .5f}, generated));
    generated.push_back(0);
  }
  EXPECT_LT(largest, 500);
  EXPECT_GT(largest, 480);
}

TEST(SamplerTest, IsAPureFunctionOfSeedAndStep) {
  std::vector<float> logits(100);
  for (int i = 0; i < 100; ++i) logits[i] = std::sin(i);
  std::vector<int32_t> first, again, other;
  for (int i = 0; i < 50; ++i) first.push_back(Sample(logits, {.temperature = 2, .seed = 5}, first));
  for (int i = 0; i < 50; ++i) again.push_back(Sample(logits, {.temperature = 2, .seed = 5}, again));
  for (int i = 0; i < 50; ++i) other.push_back(Sample(logits, {.temperature = 2, .seed = 6}, other));
  EXPECT_EQ(first, again);
  EXPECT_NE(first, other);
}

TEST(ValidateGenerationOptionsTest, NamesTheFieldTheValueAndTheRange) {
  const auto message = [](GenerationOptions options) {
    return std::string(ValidateGenerationOptions(options, 50257, 1024).message());
  };
  EXPECT_TRUE(ValidateGenerationOptions({}, 50257, 1024).ok());
  EXPECT_THAT(message({.max_new_tokens = 0}), ::testing::HasSubstr("max_new_tokens is 0"));
  EXPECT_THAT(message({.max_new_tokens = 1025}), ::testing::HasSubstr("1024"));
  EXPECT_THAT(message({.max_new_tokens = 5, .min_new_tokens = 6}), ::testing::HasSubstr("min_new_tokens is 6"));
  EXPECT_THAT(message({.min_new_tokens = -1}), ::testing::HasSubstr("min_new_tokens is -1"));
  for (float bad : {-1.f, 101.f, kNan, kInf}) {
    EXPECT_THAT(message({.temperature = bad}), ::testing::HasSubstr("temperature is")) << bad;
  }
  EXPECT_THAT(message({.top_k = 50258}), ::testing::HasSubstr("top_k is 50258"));
  for (float bad : {0.f, 1.5f, kNan}) EXPECT_THAT(message({.top_p = bad}), ::testing::HasSubstr("top_p is")) << bad;
  EXPECT_THAT(message({.no_repeat_ngram_size = 17}), ::testing::HasSubstr("no_repeat_ngram_size is 17"));
  for (float bad : {0.f, 11.f, kNan}) {
    EXPECT_THAT(message({.repetition_penalty = bad}), ::testing::HasSubstr("repetition_penalty is")) << bad;
  }
  EXPECT_THAT(message({.stop_sequences = std::vector<std::string>(9, "x")}), ::testing::HasSubstr("at most 8"));
  EXPECT_THAT(message({.stop_sequences = {""}}), ::testing::HasSubstr("stop_sequences[0]"));
  EXPECT_THAT(message({.stop_sequences = {"x", std::string(257, 'x')}}), ::testing::HasSubstr("stop_sequences[1]"));
}

}  // namespace
}  // namespace precis::runtime
