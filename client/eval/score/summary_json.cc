#include "client/eval/score/summary_json.h"

#include <functional>

#include "absl/strings/str_cat.h"

namespace precis::eval {
namespace {

using Scores = std::span<const PairScores* const>;

double Mean(Scores scores, const std::function<double(const PairScores&)>& value) {
  double sum = 0;
  for (const PairScores* pair : scores) sum += value(*pair);
  return sum / static_cast<double>(scores.size());
}

Json MeanJson(Scores scores, PrecisionRecall RougeScores::*which) {
  return {{"precision", Mean(scores, [&](const PairScores& pair) { return (pair.rouge.*which).precision; })},
          {"recall", Mean(scores, [&](const PairScores& pair) { return (pair.rouge.*which).recall; })},
          {"fmeasure", Mean(scores, [&](const PairScores& pair) { return (pair.rouge.*which).fmeasure; })}};
}

Json LengthJson(Scores scores, TextLength PairScores::*which) {
  return {{"words", Mean(scores, [&](const PairScores& pair) { return static_cast<double>((pair.*which).words); })},
          {"sentences", Mean(scores, [&](const PairScores& pair) { return static_cast<double>((pair.*which).sentences); })},
          {"characters", Mean(scores, [&](const PairScores& pair) { return static_cast<double>((pair.*which).characters); })}};
}

Json FaithfulnessJson(Scores scores) {
  int64_t numbers = 0, names = 0, bad_numbers = 0, bad_names = 0, clean = 0;
  for (const PairScores* pair : scores) {
    const Faithfulness& found = *pair->faithfulness;
    numbers += found.numbers;
    names += found.names;
    bad_numbers += static_cast<int64_t>(found.unsupported_numbers.size());
    bad_names += static_cast<int64_t>(found.unsupported_names.size());
    clean += found.unsupported_numbers.empty() && found.unsupported_names.empty();
  }
  const auto share = [](int64_t part, int64_t whole) { return whole > 0 ? Json(static_cast<double>(part) / static_cast<double>(whole)) : Json(); };
  return {{"numbers", numbers}, {"numbers_unsupported", bad_numbers}, {"numbers_unsupported_share", share(bad_numbers, numbers)},
          {"names", names},     {"names_unsupported", bad_names},     {"names_unsupported_share", share(bad_names, names)},
          {"summaries_without_unsupported_share", share(clean, static_cast<int64_t>(scores.size()))}};
}

void AddSourceScores(Scores scores, Json* json) {
  std::vector<const PairScores*> with_source;
  for (const PairScores* pair : scores) {
    if (pair->extractive) with_source.push_back(pair);
  }
  (*json)["n_with_source"] = with_source.size();
  if (with_source.empty()) return;
  for (int n = 0; n < 4; ++n) {
    (*json)["novelty"][absl::StrCat(n + 1)] = Mean(with_source, [n](const PairScores& pair) { return pair.extractive->novelty[n]; });
  }
  (*json)["compression"] = Mean(with_source, [](const PairScores& pair) { return pair.extractive->compression; });
  (*json)["copied"] = {{"coverage", Mean(with_source, [](const PairScores& pair) { return pair.extractive->coverage; })},
                       {"density", Mean(with_source, [](const PairScores& pair) { return pair.extractive->density; })},
                       {"mean_span_words", Mean(with_source, [](const PairScores& pair) { return pair.extractive->mean_span; })},
                       {"longest_span_words", Mean(with_source, [](const PairScores& pair) { return static_cast<double>(pair.extractive->longest_span); })}};
  (*json)["faithfulness"] = FaithfulnessJson(with_source);
}

}  // namespace

Json CorpusJson(Scores scores) {
  BleuCounts bleu;
  ChrfCounts chrf;
  int64_t empty_references = 0, empty_hypotheses = 0;
  for (const PairScores* pair : scores) {
    bleu += pair->bleu;
    chrf += pair->chrf;
    empty_references += pair->reference.characters == 0;
    empty_hypotheses += pair->hypothesis.characters == 0;
  }
  Json json = {{"n", scores.size()},
               {"rouge1", MeanJson(scores, &RougeScores::rouge1)},
               {"rouge2", MeanJson(scores, &RougeScores::rouge2)},
               {"rougeL", MeanJson(scores, &RougeScores::rougeL)},
               {"rougeLsum", MeanJson(scores, &RougeScores::rougeLsum)},
               {"bleu", Bleu(bleu)},
               {"chrf", Chrf(chrf)},
               {"bleu_nltk", Mean(scores, [](const PairScores& pair) { return pair.nltk_bleu.method1; })},
               {"bleu_nltk_unsmoothed", Mean(scores, [](const PairScores& pair) { return pair.nltk_bleu.unsmoothed; })},
               {"hypothesis", LengthJson(scores, &PairScores::hypothesis)},
               {"reference", LengthJson(scores, &PairScores::reference)},
               {"empty_references", empty_references},
               {"empty_hypotheses", empty_hypotheses}};
  for (int n = 0; n < 4; ++n) {
    json["repetition"][absl::StrCat(n + 1)] = Mean(scores, [n](const PairScores& pair) { return pair.repetition[n]; });
  }
  AddSourceScores(scores, &json);
  return json;
}

Json CorpusJson(std::span<const PairScores> scores) {
  std::vector<const PairScores*> pointers;
  for (const PairScores& pair : scores) pointers.push_back(&pair);
  return CorpusJson(Scores(pointers));
}

}  // namespace precis::eval
