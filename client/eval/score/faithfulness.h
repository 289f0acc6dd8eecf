#ifndef PRECIS_CLIENT_EVAL_SCORE_FAITHFULNESS_H_
#define PRECIS_CLIENT_EVAL_SCORE_FAITHFULNESS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "client/eval/text/words.h"

namespace precis::eval {

// The numbers and names of a summary that its source does not have: the cheapest sign of invented facts. It finds what is not
// there, not what is there but said of something else.
struct Faithfulness {
  int64_t numbers = 0, names = 0;  // in the summary
  std::vector<std::string> unsupported_numbers, unsupported_names;
};

// Numbers: digits, with thousands separators and trailing zeros after the point removed; "five" in the source supports 5 (words up to
// twenty, and tens). Names: runs of capitalised words, such as "Barack Obama"; each of its words must be in the source, whatever their case. A
// capital at the beginning of a sentence counts only when another capitalised word follows, or when the source writes that word with
// a capital within a sentence. Text without capitals has no names.
Faithfulness CheckFaithfulness(const std::vector<Word>& source, const std::vector<Word>& summary);

}  // namespace precis::eval

#endif  // PRECIS_CLIENT_EVAL_SCORE_FAITHFULNESS_H_
