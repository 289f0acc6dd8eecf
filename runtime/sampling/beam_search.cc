#include "runtime/sampling/beam_search.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "runtime/sampling/sampler.h"

namespace precis::runtime {
namespace {

constexpr float kImpossible = -std::numeric_limits<float>::infinity();
// The score of beams that don't exist yet: the first step takes continuations of the first beam, as long as there are enough.
constexpr float kNoBeam = -1e9f;

// logits -> log probabilities.
void LogSoftmax(absl::Span<float> logits) {
  const float top = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - top);
  const auto log_sum = static_cast<float>(std::log(sum));
  for (float& logit : logits) logit = logit - top - log_sum;
}

}  // namespace

BeamSearch::BeamSearch(const GenerationOptions& options, int32_t end_of_text)
    : options_(options), end_of_text_(end_of_text), scores_(options.num_beams, kNoBeam) {
  scores_.front() = 0;
}

bool BeamSearch::Advance(absl::Span<const absl::Span<float>> logits, absl::Span<const int32_t> prompt,
                         absl::Span<const absl::Span<const int32_t>> generated) {
  for (size_t i = 0; i < logits.size(); ++i) {
    LogSoftmax(logits[i]);
    ApplyPenalties(logits[i], {&options_, prompt, generated[i], end_of_text_});
  }
  FindCandidates(logits);
  ++length_;
  const bool full_length = length_ >= options_.max_new_tokens;
  next_.clear();
  scores_.clear();
  for (size_t i = 0; i < candidates_.size(); ++i) {
    const Candidate& candidate = candidates_[i];
    const bool ends = candidate.choice.token == end_of_text_;
    if (ends || full_length) {
      if (i < static_cast<size_t>(options_.num_beams)) Finish(candidate, generated[candidate.choice.parent]);
    } else if (next_.size() < static_cast<size_t>(options_.num_beams)) {
      next_.push_back(candidate.choice);
      scores_.push_back(candidate.score);
    }
  }
  return !full_length && CanImprove();
}

// The 2 * num_beams best of all continuations.
void BeamSearch::FindCandidates(absl::Span<const absl::Span<float>> logits) {
  const size_t wanted = 2 * static_cast<size_t>(options_.num_beams);
  candidates_.clear();
  const auto better = [](const Candidate& a, const Candidate& b) { return a.score > b.score; };
  for (int beam = 0; beam < options_.num_beams; ++beam) {
    const auto row = logits[logits.size() == 1 ? 0 : beam];
    for (size_t id = 0; id < row.size(); ++id) {
      const float sum = row[id] + scores_[beam];
      const Candidate candidate{std::isnan(sum) ? kImpossible : sum, {logits.size() == 1 ? 0 : beam, static_cast<int32_t>(id)}};
      if (candidates_.size() == wanted && !better(candidate, candidates_.back())) continue;
      if (candidates_.size() == wanted) candidates_.pop_back();
      candidates_.insert(std::upper_bound(candidates_.begin(), candidates_.end(), candidate, better), candidate);
    }
  }
}

void BeamSearch::Finish(const Candidate& candidate, absl::Span<const int32_t> tokens) {
  Hypothesis hypothesis{{tokens.begin(), tokens.end()}, candidate.choice.token == end_of_text_,
                        Normalised(candidate.score, length_)};
  if (!hypothesis.end_of_text) hypothesis.tokens.push_back(candidate.choice.token);
  const auto better = [](const Hypothesis& a, const Hypothesis& b) { return a.score > b.score; };
  finished_.insert(std::upper_bound(finished_.begin(), finished_.end(), hypothesis, better), std::move(hypothesis));
  if (finished_.size() > static_cast<size_t>(options_.num_beams)) finished_.pop_back();
}

// Whether a running beam may still become better than the worst finished one.
bool BeamSearch::CanImprove() const {
  if (finished_.size() < static_cast<size_t>(options_.num_beams)) return true;
  if (options_.early_stopping == EarlyStopping::kTrue) return false;
  const bool judge_by_most = options_.early_stopping == EarlyStopping::kNever && options_.length_penalty > 0;
  return Normalised(scores_.front(), judge_by_most ? options_.max_new_tokens : length_) > finished_.back().score;
}

double BeamSearch::Normalised(float score, int length) const {
  return score / std::pow(static_cast<double>(length), static_cast<double>(options_.length_penalty));
}

}  // namespace precis::runtime
