#ifndef PRECIS_KERNELS_CUDA_ATTENTION_POLICY_H_
#define PRECIS_KERNELS_CUDA_ATTENTION_POLICY_H_

// What is done to a score between the matrix product and the softmax: the functor that makes flash into flash_alibi. Engines are templates over it.
//
// A score becomes an exponent of two. Learned positions: scale * s, folded into the exponential's fused multiply-add. ALiBi: scale * s + slope * (j - i). The bias
// is split into a column part, relative to the tile's first key (slope * (j - tile), the same for all rows and tiles), added to the score by one fused multiply-add,
// and a row part (slope * (tile - i)), which only shifts the row's maximum. Both stay small near the diagonal, so nothing is lost at long contexts.

#include "kernels/cuda/attention/attention_common.h"

namespace precis::kernels::PRECIS_GPU_NS {

struct LearnedScores {
  static constexpr bool kAlibi = false;
  float scale;  // times log2(e)

  PRECIS_DEVICE static LearnedScores Make(float scale_log2, const float*, int, int) { return LearnedScores{scale_log2}; }
  // Score of the key `column` columns right of this thread's first.
  PRECIS_DEVICE float Score(float s, int) const { return s; }
  // Added to a row's scores as a whole; `distance` = first key of the tile - position of the row.
  PRECIS_DEVICE float RowOffset(int) const { return 0.0f; }
  // From units of scores to exponents of two.
  PRECIS_DEVICE float Exponent(float x) const { return x * scale; }
  PRECIS_DEVICE float Weight(float score, float shift) const { return Exp2(Fma(score, scale, -shift)); }
};

struct AlibiScores {
  static constexpr bool kAlibi = true;
  float scale;
  float slope;         // times log2(e)
  float column_bias;   // of this thread's first column

  PRECIS_DEVICE static AlibiScores Make(float scale_log2, const float* slopes, int head, int first_column) {
    const float slope = slopes[head] * kLog2E;
    return AlibiScores{scale_log2, slope, slope * static_cast<float>(first_column)};
  }
  PRECIS_DEVICE float Score(float s, int column) const { return Fma(s, scale, Fma(slope, static_cast<float>(column), column_bias)); }
  PRECIS_DEVICE float RowOffset(int distance) const { return slope * static_cast<float>(distance); }
  PRECIS_DEVICE float Exponent(float x) const { return x; }
  PRECIS_DEVICE float Weight(float score, float shift) const { return Exp2(score - shift); }
};

// Calls f(Policy type tag) for the variant that the arguments ask for.
template <class P>
struct PolicyTag {
  using Policy = P;
};
template <class F>
inline void DispatchPolicy(const float* alibi_slopes, F&& f) {
  if (alibi_slopes != nullptr) return f(PolicyTag<AlibiScores>{});
  return f(PolicyTag<LearnedScores>{});
}

}  // namespace precis::kernels::PRECIS_GPU_NS

#endif  // PRECIS_KERNELS_CUDA_ATTENTION_POLICY_H_
