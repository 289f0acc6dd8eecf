#ifndef PRECIS_KERNELS_CPU_ROW_KERNELS_H_
#define PRECIS_KERNELS_CPU_ROW_KERNELS_H_

// Layer norm and arg max of one row. Included by isa_*.cc after vector_math.h.
namespace precis::kernels::PRECIS_ISA {

// The sum of the row in four vectors of partial sums; the order depends on the size alone.
template <class Term>
PRECIS_INLINE float SumRow(const float* x, int64_t size, Term term) {
  F sums[4] = {Zero(), Zero(), Zero(), Zero()};
  int64_t i = 0;
  for (; i + 4 * kWidth <= size; i += 4 * kWidth) {
    PRECIS_UNROLL for (int j = 0; j < 4; ++j) sums[j] = Add(sums[j], term(Load(x + i + j * kWidth)));
  }
  for (; i + kWidth <= size; i += kWidth) sums[0] = Add(sums[0], term(Load(x + i)));
  if (i < size) {
    const int lanes = static_cast<int>(size - i);
    sums[1] = Add(sums[1], KeepBelow(term(LoadPartial(x + i, lanes)), lanes, 0.0f));
  }
  return ReduceAdd(Add(Add(sums[0], sums[1]), Add(sums[2], sums[3])));
}

inline void LayerNormRow(const float* x, const float* gain, const float* bias, float epsilon, int64_t size, float* y) {
  const float mean = SumRow(x, size, [](F v) { return v; }) / static_cast<float>(size);
  const F center = Set(mean);
  const float variance = SumRow(x, size, [center](F v) {
                           const F d = Sub(v, center);
                           return Mul(d, d);
                         }) / static_cast<float>(size);
  const F factor = Set(1.0f / __builtin_sqrtf(variance + epsilon));
  int64_t i = 0;
  for (; i + kWidth <= size; i += kWidth) {
    const F v = Mul(Sub(Load(x + i), center), factor);
    Store(y + i, Fma(v, Load(gain + i), Load(bias + i)));
  }
  if (i < size) {
    const int lanes = static_cast<int>(size - i);
    const F v = Mul(Sub(LoadPartial(x + i, lanes), center), factor);
    StorePartial(y + i, Fma(v, LoadPartial(gain + i, lanes), LoadPartial(bias + i, lanes)), lanes);
  }
}

// Two passes: the largest value, then its first place. Max drops NaN in its first operand.
inline int64_t ArgMaxRow(const float* values, int64_t size) {
  const float infinity = __builtin_inff();
  F best[4] = {Set(-infinity), Set(-infinity), Set(-infinity), Set(-infinity)};
  int64_t i = 0;
  for (; i + 4 * kWidth <= size; i += 4 * kWidth) {
    PRECIS_UNROLL for (int j = 0; j < 4; ++j) best[j] = Max(Load(values + i + j * kWidth), best[j]);
  }
  float largest = ReduceMax(Max(Max(best[0], best[1]), Max(best[2], best[3])));
  for (; i < size; ++i) {
    if (values[i] > largest) largest = values[i];
  }
  for (int64_t j = 0; j < size; ++j) {
    if (values[j] == largest) return j;
  }
  return 0;
}

}  // namespace precis::kernels::PRECIS_ISA

#endif  // PRECIS_KERNELS_CPU_ROW_KERNELS_H_
