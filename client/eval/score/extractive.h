#ifndef PRECIS_CLIENT_EVAL_SCORE_EXTRACTIVE_H_
#define PRECIS_CLIENT_EVAL_SCORE_EXTRACTIVE_H_

#include <array>
#include <cstdint>
#include <span>
#include <vector>

namespace precis::eval {

// How a summary is made of its source's words, by SplitWords, lower-cased.
struct Extractive {
  // Share of the summary's distinct n-grams that the source does not have, n = 1 .. 4 (See et al. 2017); 0 where the summary has none.
  std::array<double, 4> novelty = {};
  double compression = 0;  // words of the source for one of the summary
  // Extractive fragments (Grusky et al. 2018, "Newsroom"): the spans that a greedy reader copies, longest first match.
  double coverage = 0;      // share of the summary's words in copied spans
  double density = 0;       // mean over the summary's words of the length of their span
  double mean_span = 0;     // mean length of the spans, in words
  int64_t longest_span = 0; // words
};

// Share of the summary's n-grams that stood in it before, n = 1 .. 4.
using Repetition = std::array<double, 4>;

// Words as numbers from 1. An empty summary gives zeros.
Extractive CompareWithSource(std::span<const uint32_t> source, std::span<const uint32_t> summary);
Repetition CountRepetition(std::span<const uint32_t> summary);

// [begin, length) in the summary, ascending: the copied spans of at least `least` words.
struct Span {
  int64_t begin, length;
};
std::vector<Span> CopiedSpans(std::span<const uint32_t> source, std::span<const uint32_t> summary, int64_t least = 1);

}  // namespace precis::eval

#endif  // PRECIS_CLIENT_EVAL_SCORE_EXTRACTIVE_H_
