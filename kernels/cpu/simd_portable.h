#ifndef PRECIS_KERNELS_CPU_SIMD_PORTABLE_H_
#define PRECIS_KERNELS_CPU_SIMD_PORTABLE_H_

#include <cmath>
#include <cstdint>
#include <cstring>

#include "kernels/cpu/simd_macros.h"

#define PRECIS_HAS_DOT 0

// Vectors of four floats in the compiler's own vector extension: any processor. See simd_avx2.h for what each function does.
namespace precis::kernels::portable {

inline constexpr int kWidth = 4;
inline constexpr int kMaxRows = 4;  // rows that a micro-kernel keeps in registers, with two vectors each

typedef float Float4 __attribute__((vector_size(16)));
typedef int32_t Int4 __attribute__((vector_size(16)));

struct F {
  Float4 v;
};
struct I {
  Int4 v;
};

PRECIS_INLINE F Set(float x) { return {Float4{x, x, x, x}}; }
PRECIS_INLINE F Zero() { return Set(0); }
PRECIS_INLINE F Load(const float* p) {
  F f;
  std::memcpy(&f.v, p, 16);
  return f;
}
PRECIS_INLINE void Store(float* p, F f) { std::memcpy(p, &f.v, 16); }
PRECIS_INLINE F LoadPartial(const float* p, int n) {
  F f = Zero();
  for (int i = 0; i < n; ++i) f.v[i] = p[i];
  return f;
}
PRECIS_INLINE void StorePartial(float* p, F f, int n) {
  for (int i = 0; i < n; ++i) p[i] = f.v[i];
}
PRECIS_INLINE F Add(F a, F b) { return {a.v + b.v}; }
PRECIS_INLINE F Sub(F a, F b) { return {a.v - b.v}; }
PRECIS_INLINE F Mul(F a, F b) { return {a.v * b.v}; }
PRECIS_INLINE F Div(F a, F b) { return {a.v / b.v}; }
PRECIS_INLINE F Fma(F a, F b, F c) { return {a.v * b.v + c.v}; }
PRECIS_INLINE F Max(F a, F b) { return {a.v > b.v ? a.v : b.v}; }
PRECIS_INLINE F Min(F a, F b) { return {a.v < b.v ? a.v : b.v}; }
PRECIS_INLINE F Iota() { return {Float4{0, 1, 2, 3}}; }
PRECIS_INLINE F CopySign(F magnitude, F sign) {
  const Int4 bit = Int4{INT32_MIN, INT32_MIN, INT32_MIN, INT32_MIN};
  return {(Float4)(((Int4)magnitude.v & ~bit) | ((Int4)sign.v & bit))};
}
PRECIS_INLINE F Abs(F a) { return CopySign(a, Zero()); }
PRECIS_INLINE F KeepBelow(F a, int n, float other) {
  const Int4 lane = {0, 1, 2, 3};
  return {lane < n ? a.v : Set(other).v};
}
PRECIS_INLINE float ReduceAdd(F a) { return (a.v[0] + a.v[2]) + (a.v[1] + a.v[3]); }
PRECIS_INLINE float ReduceMax(F a) {
  const float x = a.v[0] > a.v[2] ? a.v[0] : a.v[2];
  const float y = a.v[1] > a.v[3] ? a.v[1] : a.v[3];
  return x > y ? x : y;
}
PRECIS_INLINE float First(F a) { return a.v[0]; }

// 2^n for whole n in [-127, 127]; 2^-127 is 0.
PRECIS_INLINE F ExpOfWhole(F n) {
  return {(Float4)((__builtin_convertvector(n.v, Int4) + 127) << 23)};
}
PRECIS_INLINE F Round(F a) {
  const Float4 big = Set(12582912.0f).v;  // 1.5 * 2^23: adding it rounds |a| < 2^22 to nearest even
  return {(a.v + big) - big};
}

PRECIS_INLINE F LoadKv(const float* p) { return Load(p); }
PRECIS_INLINE F LoadKv(const uint16_t* p) {
  const Int4 bits = {p[0] << 16, p[1] << 16, p[2] << 16, p[3] << 16};
  return {(Float4)bits};
}

// 4 words of two bf16: the low halves and the high halves.
PRECIS_INLINE void LoadBf16Pairs(const uint16_t* p, F* even, F* odd) {
  Int4 bits;
  std::memcpy(&bits, p, 16);
  even->v = (Float4)(bits << 16);
  odd->v = (Float4)(bits & Int4{-65536, -65536, -65536, -65536});
}
PRECIS_INLINE I SetInt(int32_t x) { return {Int4{x, x, x, x}}; }
PRECIS_INLINE I LoadInts(const void* p) {
  I a;
  std::memcpy(&a.v, p, 16);
  return a;
}
PRECIS_INLINE void StoreInts(void* p, I a) { std::memcpy(p, &a.v, 16); }
PRECIS_INLINE F ToFloat(I a) { return {__builtin_convertvector(a.v, Float4)}; }
PRECIS_INLINE I WidenInt8Pairs(const int8_t* p) {
  int16_t wide[8];
  for (int i = 0; i < 8; ++i) wide[i] = p[i];
  return LoadInts(wide);
}
PRECIS_INLINE I PairDot(I acc, I weights, I pairs) {
  int16_t w[8], x[8];
  std::memcpy(w, &weights.v, 16);
  std::memcpy(x, &pairs.v, 16);
  for (int i = 0; i < 4; ++i) acc.v[i] += w[2 * i] * x[2 * i] + w[2 * i + 1] * x[2 * i + 1];
  return acc;
}

}  // namespace precis::kernels::portable

#endif  // PRECIS_KERNELS_CPU_SIMD_PORTABLE_H_
