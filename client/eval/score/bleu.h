#ifndef PRECIS_CLIENT_EVAL_SCORE_BLEU_H_
#define PRECIS_CLIENT_EVAL_SCORE_BLEU_H_

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace precis::eval {

// What BLEU needs of a pair; the statistics of a corpus are the sums over its pairs.
struct BleuCounts {
  int64_t hypothesis_length = 0, reference_length = 0;  // tokens; of several references the closest in length
  std::array<int64_t, 4> matches = {}, totals = {};     // n-grams, n = 1 .. 4

  BleuCounts& operator+=(const BleuCounts& other);
  BleuCounts& operator-=(const BleuCounts& other);
};

// The tokens of mteval-v13a, separated by single spaces.
std::string Tokenize13a(std::string_view text);

// `references` is not empty.
BleuCounts CountBleu(std::span<const std::string> references, std::string_view hypothesis);

// sacreBLEU 2.5.1's corpus BLEU with its defaults: 13a tokens, mixed case, smoothing "exp", no effective order. 0 .. 100.
double Bleu(const BleuCounts& counts);

// nltk.translate.bleu_score.sentence_bleu([reference.split() ...], hypothesis.split()) with equal weights up to 4-grams. 0 .. 1.
struct NltkBleu {
  double method1 = 0;     // SmoothingFunction().method1, 0.1 in place of no match: what studies mostly use
  double unsmoothed = 0;  // the default (method0): a pair without a common 4-gram scores 0, but for 1e-77
};
NltkBleu SentenceBleu(std::span<const std::string> references, std::string_view hypothesis);

}  // namespace precis::eval

#endif  // PRECIS_CLIENT_EVAL_SCORE_BLEU_H_
