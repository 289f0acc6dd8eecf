#ifndef PRECIS_RUNTIME_SAMPLING_SAMPLER_H_
#define PRECIS_RUNTIME_SAMPLING_SAMPLER_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "runtime/request.h"

namespace precis::runtime {

// All that the choice of one token depends on besides the logits.
struct SamplingContext {
  const GenerationOptions* options = nullptr;
  absl::Span<const int32_t> prompt;     // for the repetition penalty
  absl::Span<const int32_t> generated;  // so far
  int32_t end_of_text = -1;             // suppressed while step() < min_new_tokens
  // Tokens after `generated` that are chosen but not yet known. Where there are any, `options` asks for no penalty that depends on what was generated.
  int unknown = 0;
  // The number of tokens before this one, which seeds the choice.
  int step() const { return static_cast<int>(generated.size()) + unknown; }
};

// The penalties alone, on logits or log probabilities, in place: repetition, no-repeat n-gram, minimum length.
void ApplyPenalties(absl::Span<float> scores, const SamplingContext& context);

// Chooses the next token. `logits` is changed in place. A pure function of its arguments: the random number is a counter-based
// hash (Philox 4x32-10, Salmon et al. 2011) of (seed, step). Order as in transformers: repetition penalty, no-repeat n-gram, minimum length, temperature, top-k, top-p.
int32_t SampleToken(absl::Span<float> logits, const SamplingContext& context);

}  // namespace precis::runtime

#endif  // PRECIS_RUNTIME_SAMPLING_SAMPLER_H_
