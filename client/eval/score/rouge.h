#ifndef PRECIS_CLIENT_EVAL_SCORE_ROUGE_H_
#define PRECIS_CLIENT_EVAL_SCORE_ROUGE_H_

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "client/eval/score/grams.h"

namespace precis::eval {

// All of them 0 .. 1.
struct PrecisionRecall {
  double precision = 0, recall = 0, fmeasure = 0;
};

struct RougeScores {
  PrecisionRecall rouge1, rouge2, rougeL, rougeLsum;
};

// ROUGE (C.-Y. Lin 2004) as rouge-score 0.1.2 computes it with use_stemmer=True: lower-cased, words of [a-z0-9], those of more than
// three letters stemmed by Porter; rougeLsum splits sentences at newlines and does not count a word twice. Text in other scripts has no such
// words and scores 0, there as here. Keeps the stems of the words that it has seen. Not thread-safe.
class RougeScorer {
 public:
  RougeScores Score(std::string_view reference, std::string_view hypothesis);

  // Each measure's best reference by fmeasure, the first of equal ones, as rouge-score's score_multi; `references` is not empty.
  RougeScores ScoreMulti(std::span<const std::string> references, std::string_view hypothesis);

  // The words as numbers: equal for equal stems, over the scorer's life.
  std::vector<uint32_t> Tokens(std::string_view text);

 private:
  uint32_t StemId(const std::string& word);
  std::vector<std::vector<uint32_t>> Sentences(std::string_view text);

  Vocabulary stems_;
  absl::flat_hash_map<std::string, uint32_t> known_;  // the stem of a word
};

// ROUGE-1 and -2 alone, of words already turned into numbers.
PrecisionRecall RougeN(std::span<const uint32_t> reference, std::span<const uint32_t> hypothesis, int n);

}  // namespace precis::eval

#endif  // PRECIS_CLIENT_EVAL_SCORE_ROUGE_H_
