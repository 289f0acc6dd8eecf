// Beam search by itself, over tables of logits. Against transformers: beam_golden_test.
#include "runtime/sampling/beam_search.h"

#include <cmath>
#include <functional>
#include <limits>
#include <random>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace precis::runtime {
namespace {

using ::testing::ElementsAre;
using Tokens = std::vector<int32_t>;
using Model = std::function<std::vector<float>(const Tokens&)>;

struct Outcome {
  Tokens tokens;
  bool ended;
  double score;
  int steps = 0;
};

Outcome Search(const GenerationOptions& options, int32_t end_of_text, const Model& model, const Tokens& prompt = {}) {
  BeamSearch search(options, end_of_text);
  std::vector<Tokens> beams = {{}};
  for (int steps = 1;; ++steps) {
    std::vector<std::vector<float>> logits;
    for (const Tokens& beam : beams) logits.push_back(model(beam));
    std::vector<absl::Span<float>> rows;
    for (auto& row : logits) rows.push_back(absl::MakeSpan(row));
    const std::vector<absl::Span<const int32_t>> generated(beams.begin(), beams.end());
    if (!search.Advance(rows, prompt, generated)) return {search.summary(), search.ended_by_text(), search.score(), steps};
    EXPECT_EQ(search.next().size(), static_cast<size_t>(options.num_beams));
    std::vector<Tokens> next;
    for (const BeamChoice& choice : search.next()) {
      next.push_back(beams[choice.parent]);
      next.back().push_back(choice.token);
    }
    beams = next;
  }
}

// Logits that are a function of the tokens so far.
Model RandomModel(int vocabulary, int seed) {
  return [=](const Tokens& tokens) {
    std::seed_seq sequence(tokens.begin(), tokens.end());
    std::mt19937 random(sequence);
    random.discard(seed);
    std::normal_distribution<float> normal(0, 2);
    std::vector<float> logits(vocabulary);
    for (float& logit : logits) logit = normal(random);
    return logits;
  };
}

// The best of all texts of up to `most` tokens.
void BestOfAll(const Model& model, int32_t end, int most, double penalty, const Tokens& tokens, double sum, Outcome* best) {
  const std::vector<float> logits = model(tokens);
  double total = 0;
  for (float logit : logits) total += std::exp(double{logit});
  for (int32_t id = 0; id < static_cast<int32_t>(logits.size()); ++id) {
    const double next = sum + logits[id] - std::log(total);
    const int length = static_cast<int>(tokens.size()) + 1;
    Tokens longer = tokens;
    if (id != end) longer.push_back(id);
    if (id != end && length < most) {
      BestOfAll(model, end, most, penalty, longer, next, best);
    } else if (const double score = next / std::pow(length, penalty); best->steps++ == 0 || score > best->score) {
      best->tokens = longer;
      best->ended = id == end;
      best->score = score;
    }
  }
}

TEST(BeamSearchTest, WideEnoughItFindsTheBestOfAll) {
  int ended = 0;
  for (int seed = 0; seed < 200; ++seed) {
    const Model model = RandomModel(4, seed);
    // 9 beams are all texts of two tokens besides the end.
    const GenerationOptions options{.max_new_tokens = 3, .num_beams = 12, .length_penalty = seed % 3 * .7f,
                                    .early_stopping = EarlyStopping::kNever};
    Outcome best;
    BestOfAll(model, 3, 3, options.length_penalty, {}, 0, &best);
    const Outcome found = Search(options, 3, model);
    EXPECT_EQ(found.tokens, best.tokens) << seed;
    EXPECT_EQ(found.ended, best.ended) << seed;
    EXPECT_NEAR(found.score, best.score, 1e-4) << seed;
    ended += found.ended;
  }
  EXPECT_GT(ended, 50);
  EXPECT_LT(ended, 180);
}

TEST(BeamSearchTest, LooksBeyondTheGreedyToken) {
  // After 0 everything is equally likely; after 1 the next is certain.
  const Model model = [](const Tokens& tokens) -> std::vector<float> {
    if (tokens.empty()) return {1, .9f, -9, -9};
    return tokens[0] == 1 ? std::vector<float>{-9, -9, 9, -9} : std::vector<float>{0, 0, 0, 0};
  };
  const GenerationOptions options{.max_new_tokens = 2, .num_beams = 2};
  EXPECT_THAT(Search(options, -1, model).tokens, ElementsAre(1, 2));
}

TEST(BeamSearchTest, TheEndIsHeldOffUntilTheMinimum) {
  const Model model = [](const Tokens&) -> std::vector<float> { return {0, .1f, 5}; };
  GenerationOptions options{.max_new_tokens = 8, .num_beams = 3};
  EXPECT_TRUE(Search(options, 2, model).tokens.empty());
  options.min_new_tokens = 4;
  const Outcome outcome = Search(options, 2, model);
  EXPECT_EQ(outcome.tokens.size(), 4u);
  EXPECT_TRUE(outcome.ended);
}

TEST(BeamSearchTest, LengthPenaltyAndEarlyStoppingDecideWhenItEnds) {
  // Every token is as likely as the end.
  const Model model = [](const Tokens&) -> std::vector<float> { return {0, 0, 0, 0}; };
  GenerationOptions options{.max_new_tokens = 30, .num_beams = 2, .length_penalty = 0};
  EXPECT_LT(Search(options, 0, model).steps, 4);  // what is longer is only worse
  options.length_penalty = 2;
  options.early_stopping = EarlyStopping::kTrue;
  const int first = Search(options, 0, model).steps;
  options.early_stopping = EarlyStopping::kNever;
  EXPECT_EQ(Search(options, 0, model).steps, 30);
  EXPECT_LT(first, 30);
}

TEST(BeamSearchTest, TiesGoToTheFirst) {
  const Model model = [](const Tokens&) -> std::vector<float> { return {1, 1, 1, 1, 1, 1}; };
  EXPECT_THAT(Search({.max_new_tokens = 3, .num_beams = 3}, -1, model).tokens, ElementsAre(0, 0, 0));
}

TEST(BeamSearchTest, MoreBeamsThanContinuations) {
  const Model model = RandomModel(2, 1);
  EXPECT_EQ(Search({.max_new_tokens = 6, .num_beams = 16}, -1, model).tokens.size(), 6u);
  EXPECT_LE(Search({.max_new_tokens = 6, .num_beams = 16}, 1, model).tokens.size(), 6u);
}

TEST(BeamSearchTest, EndsWhateverTheLogits) {
  const float nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
  for (const float bad : {nan, infinity, -infinity}) {
    const Model all = [=](const Tokens&) { return std::vector<float>(5, bad); };
    const Model one = [=](const Tokens&) -> std::vector<float> { return {0, 1, bad, 0, 0}; };
    for (const Model& model : {all, one}) {
      const Outcome outcome = Search({.max_new_tokens = 4, .num_beams = 2}, 3, model);
      EXPECT_LE(outcome.tokens.size(), 4u);
      for (const int32_t token : outcome.tokens) EXPECT_LT(token, 5);
    }
  }
  // Every token banned.
  const Outcome outcome = Search({.max_new_tokens = 20, .no_repeat_ngram_size = 1, .num_beams = 2}, -1, RandomModel(4, 0));
  EXPECT_EQ(outcome.tokens.size(), 20u);
}

}  // namespace
}  // namespace precis::runtime
