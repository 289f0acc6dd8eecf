#ifndef PRECIS_KERNELS_CPU_TRAIN_ROW_GRADIENTS_H_
#define PRECIS_KERNELS_CPU_TRAIN_ROW_GRADIENTS_H_

// Row operations of training and their gradients. Included by isa_*.cc after elements.h. Formulas: kernels/gpu/train_ops.h.
namespace precis::kernels::PRECIS_ISA {

// A sum over [0, size) in four vectors of partial sums; the order depends on the size alone.
template <class Term>
PRECIS_INLINE float SumTerms(int64_t size, Term term) {
  F sums[4] = {Zero(), Zero(), Zero(), Zero()};
  int64_t i = 0;
  for (; i + 4 * kWidth <= size; i += 4 * kWidth) {
    PRECIS_UNROLL for (int j = 0; j < 4; ++j) sums[j] = Add(sums[j], term(i + j * kWidth, kWidth));
  }
  for (; i < size; i += kWidth) {
    const int lanes = size - i < kWidth ? static_cast<int>(size - i) : kWidth;
    F t = term(i, lanes);
    if (lanes < kWidth) t = KeepBelow(t, lanes, 0.0f);
    sums[0] = Add(sums[0], t);
  }
  return ReduceAdd(Add(Add(sums[0], sums[1]), Add(sums[2], sums[3])));
}

struct Moments {
  float mean, factor;  // 1 / deviation
};
PRECIS_INLINE Moments MomentsOf(const float* x, float epsilon, int64_t size) {
  const float n = static_cast<float>(size);
  const float mean = SumTerms(size, [x](int64_t i, int lanes) { return LoadLanes(x + i, lanes); }) / n;
  const F center = Set(mean);
  const float variance = SumTerms(size, [x, center](int64_t i, int lanes) {
                           const F d = Sub(LoadLanes(x + i, lanes), center);
                           return Mul(d, d);
                         }) / n;
  return {mean, 1.0f / __builtin_sqrtf(variance + epsilon)};
}

template <class T>
void NormRow(const float* x, const T* delta, const float* gain, const float* bias, float epsilon, int64_t size, float* sum, T* y) {
  if (delta != nullptr) {
    ForVectors(size, [&](int64_t i, int lanes) { StoreLanes(sum + i, Add(LoadLanes(x + i, lanes), LoadLanes(delta + i, lanes)), lanes); });
  } else if (sum != x) {
    __builtin_memcpy(sum, x, static_cast<size_t>(size) * 4);
  }
  const Moments m = MomentsOf(sum, epsilon, size);
  const F mean = Set(m.mean), factor = Set(m.factor);
  ForVectors(size, [&](int64_t i, int lanes) {
    const F normed = Mul(Sub(LoadLanes(sum + i, lanes), mean), factor);
    StoreLanes(y + i, Fma(normed, LoadLanes(gain + i, lanes), LoadLanes(bias + i, lanes)), lanes);
  });
}

// dx += factor * (g dy - mean(g dy) - xhat mean(g dy xhat))
template <class T>
void NormBackwardRow(const float* x, const T* dy, const float* gain, float epsilon, int64_t size, float* dx, float* gain_gradient, float* bias_gradient) {
  const Moments m = MomentsOf(x, epsilon, size);
  const F mean = Set(m.mean), factor = Set(m.factor);
  const auto normed = [&](int64_t i, int lanes) { return Mul(Sub(LoadLanes(x + i, lanes), mean), factor); };
  const auto scaled = [&](int64_t i, int lanes) { return Mul(LoadLanes(gain + i, lanes), LoadLanes(dy + i, lanes)); };
  const float n = static_cast<float>(size);
  const F mean1 = Set(SumTerms(size, scaled) / n);
  const F mean2 = Set(SumTerms(size, [&](int64_t i, int lanes) { return Mul(scaled(i, lanes), normed(i, lanes)); }) / n);
  ForVectors(size, [&](int64_t i, int lanes) {
    const F hat = normed(i, lanes), g = LoadLanes(dy + i, lanes);
    const F inner = Sub(Sub(Mul(LoadLanes(gain + i, lanes), g), mean1), Mul(hat, mean2));
    StoreLanes(dx + i, Fma(inner, factor, LoadLanes(dx + i, lanes)), lanes);
    StoreLanes(gain_gradient + i, Fma(g, hat, LoadLanes(gain_gradient + i, lanes)), lanes);
    StoreLanes(bias_gradient + i, Add(g, LoadLanes(bias_gradient + i, lanes)), lanes);
  });
}

PRECIS_INLINE F Sigmoid(F x) { return Div(Set(1.0f), Add(Set(1.0f), Exp(Sub(Zero(), x)))); }

// x sigmoid(s x)'s derivative: sigmoid + s x sigmoid (1 - sigmoid)
PRECIS_INLINE F TimesSigmoidDerivative(F x, float s) {
  const F u = Mul(Set(s), x), sigmoid = Sigmoid(u);
  return Fma(Mul(u, sigmoid), Sub(Set(1.0f), sigmoid), sigmoid);
}

PRECIS_INLINE F ActivationDerivative(F x, int activation) {
  switch (activation) {
    case 1: {  // x sigmoid(v), v = 2 sqrt(2/pi) (x + 0.044715 x^3)
      const F squared = Mul(x, x);
      const F v = Mul(Mul(x, Fma(squared, Set(0.044715f), Set(1.0f))), Set(1.5957691216057308f));
      const F dv = Mul(Fma(squared, Set(3 * 0.044715f), Set(1.0f)), Set(1.5957691216057308f));
      const F sigmoid = Sigmoid(v);
      return Fma(Mul(Mul(x, dv), sigmoid), Sub(Set(1.0f), sigmoid), sigmoid);
    }
    case 2: {  // Phi(x) + x phi(x)
      const F phi = Mul(Exp(Mul(Mul(x, x), Set(-0.5f))), Set(0.3989422804014327f));
      return Fma(x, phi, Mul(Set(0.5f), Add(Set(1.0f), Erf(Mul(x, Set(0.70710678118654752f))))));
    }
    case 3: {
      // 1 where x > 0, without a comparison: min(1, max(0, x) * huge).
      return Min(Set(1.0f), Mul(Max(Zero(), x), Set(3.0e38f)));
    }
    case 4: return TimesSigmoidDerivative(x, 1.0f);
    case 5: return TimesSigmoidDerivative(x, 1.702f);
  }
  return Set(1.0f);
}

template <class T>
void ActivateSpan(const T* x, T* y, int activation, int64_t count) {
  ForVectors(count, [&](int64_t i, int lanes) { StoreLanes(y + i, Activate(LoadLanes(x + i, lanes), activation), lanes); });
}

template <class T>
void ActivationBackwardSpan(const T* x, const T* dy, T* dx, int activation, int64_t count) {
  ForVectors(count, [&](int64_t i, int lanes) {
    StoreLanes(dx + i, Mul(LoadLanes(dy + i, lanes), ActivationDerivative(LoadLanes(x + i, lanes), activation)), lanes);
  });
}

template <class T>
float CrossEntropyRow(T* logits, int64_t vocab, int32_t target, float factor) {
  F largest = Set(-3.0e38f);
  ForVectors(vocab, [&](int64_t i, int lanes) {
    F v = LoadLanes(logits + i, lanes);
    if (lanes < kWidth) v = KeepBelow(v, lanes, -3.0e38f);
    largest = Max(v, largest);
  });
  const F top = Set(ReduceMax(largest));
  const float sum = SumTerms(vocab, [&](int64_t i, int lanes) { return Exp(Sub(LoadLanes(logits + i, lanes), top)); });
  const float loss = First(top) + __builtin_logf(sum) - Widen(logits[target]);
  const F weight = Set(factor / sum);
  const float target_probability = First(Exp(Sub(Set(Widen(logits[target])), top))) / sum;
  ForVectors(vocab, [&](int64_t i, int lanes) { StoreLanes(logits + i, Mul(Exp(Sub(LoadLanes(logits + i, lanes), top)), weight), lanes); });
  Put(logits + target, factor * (target_probability - 1.0f));
  return loss;
}

}  // namespace precis::kernels::PRECIS_ISA

#endif  // PRECIS_KERNELS_CPU_TRAIN_ROW_GRADIENTS_H_
