#ifndef PRECIS_KERNELS_ATTENTION_POLICY_H_
#define PRECIS_KERNELS_ATTENTION_POLICY_H_

#include "kernels/attention_kinds.h"

namespace precis::kernels {

// Score functions: from q.k (scaled, in units of log 2) to the logit. `distance` is the key's position minus the row's, <= 0 for
// visible keys: an exact integer, so biases stay exact near the diagonal however long the sequence is, and the same for a
// row in every batch. V is a vector of floats of one instruction set.
struct PlainScore {
  static constexpr bool kUsesDistance = false;
  template <class V>
  [[gnu::always_inline]] static inline V Apply(V score, V distance, V slope) {
    return score;
  }
};

struct AlibiScore {
  static constexpr bool kUsesDistance = true;
  template <class V>
  [[gnu::always_inline]] static inline V Apply(V score, V distance, V slope) {
    return Fma(slope, distance, score);
  }
};

}  // namespace precis::kernels

#endif  // PRECIS_KERNELS_ATTENTION_POLICY_H_
