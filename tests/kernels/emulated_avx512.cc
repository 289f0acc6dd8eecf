// The AVX-512 kernels on any machine: kernels/cpu/isa_body.h over plain vectors that do what each wrapper of simd_avx512.h does. Linked
// before the library, it takes the place of isa_avx512.cc. It proves the layouts, the blocking and the arithmetic of that path; not the intrinsics
// themselves, which run where the machine has them.
#include <cmath>
#include <cstdint>
#include <cstring>

#define PRECIS_KERNELS_CPU_SIMD_MACROS_H_
#define PRECIS_INLINE inline
#define PRECIS_UNROLL

#define PRECIS_HAS_DOT 1

namespace precis::kernels::avx512 {

inline constexpr int kWidth = 16;
inline constexpr int kMaxRows = 12;

typedef float Float16 __attribute__((vector_size(64)));
typedef int32_t Int16 __attribute__((vector_size(64)));

struct F {
  Float16 v;
};
struct I {
  Int16 v;
};

const Int16 kLanes = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

inline F Set(float x) { return {Float16{} + x}; }
inline F Zero() { return {Float16{}}; }
inline F LoadPartial(const float* p, int n) {
  F f = Zero();
  if (n > 0) std::memcpy(&f.v, p, sizeof(float) * (n < 16 ? n : 16));
  return f;
}
inline F Load(const float* p) {
  F f;
  std::memcpy(&f.v, p, 64);
  return f;
}
inline void StorePartial(float* p, F f, int n) {
  if (n > 0) std::memcpy(p, &f.v, sizeof(float) * (n < 16 ? n : 16));
}
inline void Store(float* p, F f) { std::memcpy(p, &f.v, 64); }
inline F Add(F a, F b) { return {a.v + b.v}; }
inline F Sub(F a, F b) { return {a.v - b.v}; }
inline F Mul(F a, F b) { return {a.v * b.v}; }
inline F Div(F a, F b) { return {a.v / b.v}; }
// Rounded twice, which the bounds of the tests allow.
inline F Fma(F a, F b, F c) { return {a.v * b.v + c.v}; }
inline F Max(F a, F b) { return {a.v > b.v ? a.v : b.v}; }
inline F Min(F a, F b) { return {a.v < b.v ? a.v : b.v}; }
inline F Iota() { return {__builtin_convertvector(kLanes, Float16)}; }
inline F CopySign(F magnitude, F sign) {
  const Int16 bit = Int16{} + INT32_MIN;
  return {(Float16)(((Int16)magnitude.v & ~bit) | ((Int16)sign.v & bit))};
}
inline F Abs(F a) { return CopySign(a, Zero()); }
inline F KeepBelow(F a, int n, float other) { return {kLanes < n ? a.v : Set(other).v}; }
inline float ReduceAdd(F a) {
  for (int half = 8; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) a.v[i] += a.v[i + half];
  }
  return a.v[0];
}
inline float ReduceMax(F a) {
  float largest = a.v[0];
  for (int i = 1; i < 16; ++i) largest = largest > a.v[i] ? largest : a.v[i];
  return largest;
}
inline float First(F a) { return a.v[0]; }
inline F ExpOfWhole(F n) { return {(Float16)((__builtin_convertvector(n.v, Int16) + 127) << 23)}; }
inline F Round(F a) {
  const Float16 big = Set(12582912.0f).v;
  return {(a.v + big) - big};
}

inline F LoadKv(const float* p) { return Load(p); }
inline F LoadKv(const uint16_t* p) {
  Int16 bits;
  for (int i = 0; i < 16; ++i) bits[i] = p[i] << 16;
  return {(Float16)bits};
}

inline I SetInt(int32_t x) { return {Int16{} + x}; }
inline I LoadInts(const void* p) {
  I a;
  std::memcpy(&a.v, p, 64);
  return a;
}
inline F ToFloat(I a) { return {__builtin_convertvector(a.v, Float16)}; }
inline F Low(I a) { return {(Float16)(a.v << 16)}; }
inline F High(I a) { return {(Float16)(a.v & -65536)}; }
inline void LoadBf16Pairs(const uint16_t* p, F* even, F* odd) {
  *even = Low(LoadInts(p));
  *odd = High(LoadInts(p));
}
inline F Bf16Dot(F acc, I weights, I pairs) {
  return Fma(Low(weights), Low(pairs), Fma(High(weights), High(pairs), acc));
}
// Byte j of each lane, weights unsigned and activations signed.
inline I Int8Dot(I acc, I weights, I quads) {
  for (int j = 0; j < 4; ++j) acc.v += ((weights.v >> (8 * j)) & 255) * ((quads.v << (24 - 8 * j)) >> 24);
  return acc;
}

}  // namespace precis::kernels::avx512

#define PRECIS_ISA avx512
#include "kernels/cpu/isa_body.h"
