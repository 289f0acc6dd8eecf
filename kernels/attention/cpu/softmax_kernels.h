#ifndef PRECIS_KERNELS_ATTENTION_CPU_SOFTMAX_KERNELS_H_
#define PRECIS_KERNELS_ATTENTION_CPU_SOFTMAX_KERNELS_H_

#include "kernels/attention/cpu/block.h"

// Logits, exponentials and the online softmax of a row. Part of engine_cpu.h.
namespace precis::kernels::PRECIS_ISA {

// Turns raw scores of columns [0, visible) into logits, in place, -inf in the rest of the last vector; returns their maximum.
template <class Score>
PRECIS_INLINE float LogitsOfRow(float* row, int visible, int first_column, int position, float slope) {
  const F slopes = Set(slope * kLog2E);
  F largest = Set(-__builtin_inff());
  for (int c = 0; c < visible; c += kWidth) {
    F s = Load(row + c);
    if constexpr (Score::kUsesDistance) {
      s = Score::Apply(s, Add(Set(static_cast<float>(first_column + c - position)), Iota()), slopes);
      if (c + kWidth > visible) s = KeepBelow(s, visible - c, -__builtin_inff());
      Store(row + c, s);
    } else if (c + kWidth > visible) {
      s = KeepBelow(s, visible - c, -__builtin_inff());
      Store(row + c, s);
    }
    largest = Max(largest, s);
  }
  return ReduceMax(largest);
}

// 2^(s - m) in place; returns the sum.
PRECIS_INLINE float ExpOfRow(float* row, int visible, float maximum) {
  const F m = Set(maximum);
  F sum = Zero();
  for (int c = 0; c < visible; c += kWidth) {
    const F p = Exp2(Sub(Load(row + c), m));
    Store(row + c, p);
    sum = Add(sum, p);
  }
  return ReduceAdd(sum);
}

PRECIS_INLINE void ScaleRow(float* row, int size, float factor) {
  const F f = Set(factor);
  for (int d = 0; d < size; d += kWidth) Store(row + d, Mul(Load(row + d), f));
}

// Online softmax of row r over the tile [begin, end), whose scores are at `row`: logits, the new maximum, exponentials, the new sum.
// Returns the factor by which earlier outputs shrink.
template <class Score>
float OnlineSoftmax(const AttentionBlock& b, const Scratch& s, int r, float* row, int begin, int end) {
  const int position = b.first_position + r;
  const int visible = MinInt(end, position + 1) - begin;
  const float tile_maximum = LogitsOfRow<Score>(row, visible, begin, position, b.slope);
  if (begin == 0) {
    s.maxima[r] = tile_maximum;
    s.sums[r] = ExpOfRow(row, visible, tile_maximum);
    return 1.0f;
  }
  const float before = s.maxima[r];
  const float maximum = before > tile_maximum ? before : tile_maximum;
  const float factor = maximum == before ? 1.0f : First(Exp2(Set(before - maximum)));
  s.maxima[r] = maximum;
  s.sums[r] = s.sums[r] * factor + ExpOfRow(row, visible, maximum);
  return factor;
}

inline void Rescale(const AttentionBlock& b, const Scratch& s, int r, float factor) {
  const int padded = PaddedHeadDim(b.head_dim);
  if (factor != 1.0f) ScaleRow(s.outputs + r * padded, padded, factor);
}

}  // namespace precis::kernels::PRECIS_ISA

#endif  // PRECIS_KERNELS_ATTENTION_CPU_SOFTMAX_KERNELS_H_
