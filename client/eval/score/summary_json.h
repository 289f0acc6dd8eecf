#ifndef PRECIS_CLIENT_EVAL_SCORE_SUMMARY_JSON_H_
#define PRECIS_CLIENT_EVAL_SCORE_SUMMARY_JSON_H_

#include <nlohmann/json.hpp>
#include <span>

#include "client/eval/score/pair_scorer.h"

namespace precis::eval {

using Json = nlohmann::ordered_json;

// The scores of a corpus: n, rouge1 .. rougeLsum as means over the pairs {precision, recall, fmeasure} (0 .. 1), bleu and chrf of the
// corpus (0 .. 100), bleu_nltk and bleu_nltk_unsmoothed as means (0 .. 1), lengths, repetition, and with sources novelty, compression,
// copied spans and faithfulness (over the pairs that have one). `scores` is not empty.
Json CorpusJson(std::span<const PairScores* const> scores);
Json CorpusJson(std::span<const PairScores> scores);

}  // namespace precis::eval

#endif  // PRECIS_CLIENT_EVAL_SCORE_SUMMARY_JSON_H_
