#ifndef PRECIS_KERNELS_CPU_VECTOR_MATH_H_
#define PRECIS_KERNELS_CPU_VECTOR_MATH_H_

// Included by isa_*.cc after simd_<isa>.h, with PRECIS_ISA set to its namespace.
namespace precis::kernels::PRECIS_ISA {

inline constexpr float kLog2E = 1.44269504088896340736f;

// 2^x for x <= 127; 0 below -126.5 (no subnormals); NaN stays NaN. Relative error below 1.5e-7: the polynomial (minimax, degree 6, on
// [-1/2, 1/2]) is within 2e-9, the rest is rounding.
PRECIS_INLINE F Exp2(F x) {
  x = Max(Set(-127.0f), x);
  x = Min(Set(127.0f), x);
  const F n = Round(x);
  const F f = Sub(x, n);
  F p = Set(0.00015353257185779512f);
  p = Fma(p, f, Set(0.0013399003073573112f));
  p = Fma(p, f, Set(0.00961843878030777f));
  p = Fma(p, f, Set(0.05550331994891167f));
  p = Fma(p, f, Set(0.24022647738456726f));
  p = Fma(p, f, Set(0.6931471824645996f));
  p = Fma(p, f, Set(1.0f));
  return Mul(p, ExpOfWhole(n));
}

// e^x, with x log2(e) in two parts so that large arguments keep their relative precision.
PRECIS_INLINE F Exp(F x) {
  x = Max(Set(-88.0f), x);
  x = Min(Set(88.0f), x);
  const F n = Round(Mul(x, Set(kLog2E)));
  // ln 2 = 0.693145751953125 + 1.428606765330187e-6, the first part exact in 15 bits.
  F f = Fma(n, Set(-0.693145751953125f), x);
  f = Fma(n, Set(-1.428606765330187e-06f), f);
  F p = Set(0.00015353257185779512f);
  const F g = Mul(f, Set(kLog2E));
  p = Fma(p, g, Set(0.0013399003073573112f));
  p = Fma(p, g, Set(0.00961843878030777f));
  p = Fma(p, g, Set(0.05550331994891167f));
  p = Fma(p, g, Set(0.24022647738456726f));
  p = Fma(p, g, Set(0.6931471824645996f));
  p = Fma(p, g, Set(1.0f));
  return Mul(p, ExpOfWhole(n));
}

// x / (1 + e^-s)
PRECIS_INLINE F TimesSigmoid(F x, F s) {
  return Div(x, Add(Set(1.0f), Exp(Sub(Zero(), s))));
}

// erf by Abramowitz and Stegun 7.1.26: absolute error 1.5e-7.
PRECIS_INLINE F Erf(F x) {
  const F a = Abs(x);
  const F t = Div(Set(1.0f), Fma(Set(0.3275911f), a, Set(1.0f)));
  F p = Set(1.061405429f);
  p = Fma(p, t, Set(-1.453152027f));
  p = Fma(p, t, Set(1.421413741f));
  p = Fma(p, t, Set(-0.284496736f));
  p = Fma(p, t, Set(0.254829592f));
  p = Mul(p, t);
  const F tail = Mul(p, Exp(Sub(Zero(), Mul(a, a))));
  return CopySign(Sub(Set(1.0f), tail), x);
}

// 0.5 x (1 + tanh(u)) = x / (1 + e^-2u), u = sqrt(2/pi) (x + 0.044715 x^3)
PRECIS_INLINE F GeluTanh(F x) {
  const F cubic = Fma(Mul(Mul(x, x), x), Set(0.044715f), x);
  return TimesSigmoid(x, Mul(cubic, Set(1.5957691216057308f)));
}

PRECIS_INLINE F GeluErf(F x) {
  return Mul(Mul(Set(0.5f), x), Add(Set(1.0f), Erf(Mul(x, Set(0.70710678118654752f)))));
}

}  // namespace precis::kernels::PRECIS_ISA

#endif  // PRECIS_KERNELS_CPU_VECTOR_MATH_H_
