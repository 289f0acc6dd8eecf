#ifndef PRECIS_CLIENT_EVAL_SCORE_PAIR_SCORER_H_
#define PRECIS_CLIENT_EVAL_SCORE_PAIR_SCORER_H_

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "client/eval/score/bleu.h"
#include "client/eval/score/chrf.h"
#include "client/eval/score/extractive.h"
#include "client/eval/score/faithfulness.h"
#include "client/eval/score/rouge.h"

namespace precis::eval {

struct TextLength {
  int64_t words = 0, sentences = 0, characters = 0;  // SplitWords, SplitSentences, code points
};

// Everything that is measured of one summary.
struct PairScores {
  RougeScores rouge;
  BleuCounts bleu;
  ChrfCounts chrf;
  NltkBleu nltk_bleu;
  TextLength hypothesis, reference;  // of the first reference
  Repetition repetition = {};
  std::optional<Extractive> extractive;      // only with a source
  std::optional<Faithfulness> faithfulness;  // only with a source
};

// A text to score. `references` is not empty; a reference may be.
struct Pair {
  std::vector<std::string> references;
  std::string hypothesis;
  std::string source;  // empty: unknown
};

// What ROUGE-Lsum may take: the words of reference and hypothesis multiplied. 2^33 bits are a gigabyte.
inline constexpr double kMostLcsCells = 8.6e9;

// Scores pairs, independent of one another. Not thread-safe: one for each thread.
class PairScorer {
 public:
  // `rouge_only` leaves out all but ROUGE.
  PairScores Score(const Pair& pair, bool rouge_only = false);

 private:
  RougeScorer rouge_;
};

// Scores on `threads` threads; the result is in the order of `pairs` and does not depend on the number of threads.
std::vector<PairScores> ScorePairs(std::span<const Pair> pairs, int threads);

}  // namespace precis::eval

#endif  // PRECIS_CLIENT_EVAL_SCORE_PAIR_SCORER_H_
