#include "runtime/sampling/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "runtime/sampling/philox.h"

namespace precis::runtime {
namespace {

constexpr float kSuppressed = -std::numeric_limits<float>::infinity();

// Working memory of a thread, kept between calls so that a step allocates nothing: 20 bytes an entry of the vocabulary at most.
struct Scratch {
  std::vector<uint32_t> seen;  // [vocabulary]: the call in which the id was last seen
  uint32_t call = 0;
  std::vector<float> values;    // [vocabulary]
  std::vector<double> weights;  // [vocabulary]
  std::vector<int32_t> ids;     // [vocabulary]
};

Scratch& ThreadScratch() {
  static thread_local Scratch scratch;
  return scratch;
}

// Lowest id among the largest; NaN never wins.
int32_t Best(absl::Span<const float> logits) {
  int32_t best = 0;
  float value = kSuppressed;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (logits[i] > value) {
      value = logits[i];
      best = static_cast<int32_t>(i);
    }
  }
  return best;
}

void PenaliseRepetition(absl::Span<float> logits, const SamplingContext& context) {
  const float penalty = context.options->repetition_penalty;
  if (penalty == 1) return;
  Scratch& scratch = ThreadScratch();
  if (scratch.seen.size() < logits.size()) scratch.seen.resize(logits.size());
  if (++scratch.call == 0) {
    std::fill(scratch.seen.begin(), scratch.seen.end(), 0);
    scratch.call = 1;
  }
  for (const auto tokens : {context.prompt, context.generated}) {
    for (const int32_t id : tokens) {
      if (id < 0 || static_cast<size_t>(id) >= logits.size() || scratch.seen[id] == scratch.call) continue;
      scratch.seen[id] = scratch.call;
      logits[id] = logits[id] < 0 ? logits[id] * penalty : logits[id] / penalty;
    }
  }
}

void BanRepeatedNgrams(absl::Span<float> logits, const SamplingContext& context) {
  const size_t n = context.options->no_repeat_ngram_size;
  const auto& tokens = context.generated;
  if (n == 0 || tokens.size() < n) return;
  const auto last = tokens.subspan(tokens.size() - (n - 1));
  for (size_t i = 0; i + n <= tokens.size(); ++i) {
    if (!std::equal(last.begin(), last.end(), tokens.begin() + i)) continue;
    const int32_t id = tokens[i + n - 1];
    if (id >= 0 && static_cast<size_t>(id) < logits.size()) logits[id] = kSuppressed;
  }
}

void HoldOffEndOfText(absl::Span<float> logits, const SamplingContext& context) {
  const int32_t id = context.end_of_text;
  if (id < 0 || static_cast<size_t>(id) >= logits.size()) return;
  if (context.step() < context.options->min_new_tokens) {
    logits[id] = kSuppressed;
  }
}

// Everything below the k-th largest is suppressed; what equals it stays, as in transformers.
void KeepTopK(absl::Span<float> logits, int k) {
  if (k <= 0 || static_cast<size_t>(k) >= logits.size()) return;
  std::vector<float>& values = ThreadScratch().values;
  values.assign(logits.begin(), logits.end());
  std::nth_element(values.begin(), values.begin() + (k - 1), values.end(), std::greater<float>());
  const float threshold = values[k - 1];
  for (float& logit : logits) {
    if (logit < threshold) logit = kSuppressed;
  }
}

// Keeps the smallest set of most likely tokens whose weight reaches `top_p` of the total; equal weights are taken by lowest id.
void KeepTopP(absl::Span<double> weights, double total, double top_p) {
  std::vector<int32_t>& ids = ThreadScratch().ids;
  ids.resize(weights.size());
  std::iota(ids.begin(), ids.end(), 0);
  const auto likelier = [&](int32_t a, int32_t b) {
    return weights[a] != weights[b] ? weights[a] > weights[b] : a < b;
  };
  double sum = 0;
  size_t kept = 0;
  // Sorts only as much of the head as is needed.
  for (size_t sorted = 0, goal = 256; kept < ids.size(); goal *= 8) {
    const size_t end = std::min(goal, ids.size());
    if (end < ids.size()) {
      std::nth_element(ids.begin() + sorted, ids.begin() + end, ids.end(), likelier);
    }
    std::sort(ids.begin() + sorted, ids.begin() + end, likelier);
    sorted = end;
    while (kept < sorted && sum < top_p * total) sum += weights[ids[kept++]];
    if (sum >= top_p * total) break;
  }
  for (size_t i = std::max<size_t>(kept, 1); i < ids.size(); ++i) weights[ids[i]] = 0;
}

// Inverse of the cumulative weights in order of ids.
int32_t Pick(absl::Span<const double> weights, double uniform, int32_t fallback) {
  const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  double left = uniform * total;
  int32_t last = fallback;
  for (size_t i = 0; i < weights.size(); ++i) {
    if (weights[i] <= 0) continue;
    last = static_cast<int32_t>(i);
    left -= weights[i];
    if (left < 0) return last;
  }
  return last;
}

}  // namespace

void ApplyPenalties(absl::Span<float> scores, const SamplingContext& context) {
  PenaliseRepetition(scores, context);
  BanRepeatedNgrams(scores, context);
  HoldOffEndOfText(scores, context);
}

int32_t SampleToken(absl::Span<float> logits, const SamplingContext& context) {
  ApplyPenalties(logits, context);
  const GenerationOptions& options = *context.options;
  const int32_t best = Best(logits);
  const float top = logits.empty() ? 0 : logits[best];
  if (options.temperature == 0 || options.top_k == 1 || !std::isfinite(top)) return best;

  KeepTopK(logits, options.top_k);
  std::vector<double>& weights = ThreadScratch().weights;
  weights.assign(logits.size(), 0);
  double total = 0;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (!(logits[i] > kSuppressed)) continue;
    weights[i] = std::exp((double{logits[i]} - top) / options.temperature);
    total += weights[i];
  }
  if (options.top_p < 1) KeepTopP(absl::MakeSpan(weights), total, options.top_p);
  return Pick(weights, PhiloxUniform(options.seed, context.step()), best);
}

}  // namespace precis::runtime
