#ifndef PRECIS_CLIENT_EVAL_SCORE_BASELINES_H_
#define PRECIS_CLIENT_EVAL_SCORE_BASELINES_H_

#include <string>
#include <string_view>
#include <vector>

namespace precis::eval {

// The first `count` sentences (SplitSentences), joined by newlines.
std::string Lead(std::string_view document, int count);

// The extractive oracle (Nallapati et al. 2017): sentences are taken one after the other, each time the one that raises the mean of ROUGE-1 F and
// ROUGE-2 F against the best reference most, until none does or `most` are taken; in the document's order, joined by newlines. Only the
// first 200 sentences are tried. An upper mark for what copying whole sentences can reach.
std::string Oracle(std::string_view document, const std::vector<std::string>& references, int most);

// The text with each sentence on a line of its own, as ROUGE-Lsum wants it; text that has newlines is left as it is.
std::string SentencePerLine(std::string_view text);

}  // namespace precis::eval

#endif  // PRECIS_CLIENT_EVAL_SCORE_BASELINES_H_
