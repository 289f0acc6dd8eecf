#ifndef PRECIS_KERNELS_CPU_SIMD_AVX2_H_
#define PRECIS_KERNELS_CPU_SIMD_AVX2_H_

#include <immintrin.h>

#include <cmath>
#include <cstdint>
#include <cstring>

#include "kernels/cpu/simd_macros.h"

// Whether there are dot products of bf16 and bytes (Bf16Dot, Int8Dot).
#define PRECIS_HAS_DOT 0

namespace precis::kernels::avx2 {

inline constexpr int kWidth = 8;
inline constexpr int kMaxRows = 6;  // rows that a micro-kernel keeps in registers, with two vectors each

struct F {
  __m256 v;
};
struct I {
  __m256i v;
};

PRECIS_INLINE F Set(float x) { return {_mm256_set1_ps(x)}; }
PRECIS_INLINE F Zero() { return {_mm256_setzero_ps()}; }
PRECIS_INLINE F Load(const float* p) { return {_mm256_loadu_ps(p)}; }
PRECIS_INLINE void Store(float* p, F f) { _mm256_storeu_ps(p, f.v); }
PRECIS_INLINE __m256i FirstLanes(int n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
// The first n lanes; nothing else is touched, loaded lanes past n are 0.
PRECIS_INLINE F LoadPartial(const float* p, int n) { return {_mm256_maskload_ps(p, FirstLanes(n))}; }
PRECIS_INLINE void StorePartial(float* p, F f, int n) { _mm256_maskstore_ps(p, FirstLanes(n), f.v); }
PRECIS_INLINE F Add(F a, F b) { return {_mm256_add_ps(a.v, b.v)}; }
PRECIS_INLINE F Sub(F a, F b) { return {_mm256_sub_ps(a.v, b.v)}; }
PRECIS_INLINE F Mul(F a, F b) { return {_mm256_mul_ps(a.v, b.v)}; }
PRECIS_INLINE F Div(F a, F b) { return {_mm256_div_ps(a.v, b.v)}; }
PRECIS_INLINE F Fma(F a, F b, F c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
// Max and Min give b where a or b is NaN.
PRECIS_INLINE F Max(F a, F b) { return {_mm256_max_ps(a.v, b.v)}; }
PRECIS_INLINE F Min(F a, F b) { return {_mm256_min_ps(a.v, b.v)}; }
PRECIS_INLINE F Iota() { return {_mm256_setr_ps(0, 1, 2, 3, 4, 5, 6, 7)}; }
PRECIS_INLINE F CopySign(F magnitude, F sign) {
  const __m256 bit = _mm256_set1_ps(-0.0f);
  return {_mm256_or_ps(_mm256_andnot_ps(bit, magnitude.v), _mm256_and_ps(bit, sign.v))};
}
PRECIS_INLINE F Abs(F a) { return {_mm256_andnot_ps(_mm256_set1_ps(-0.0f), a.v)}; }
// Lanes from n on become `other`.
PRECIS_INLINE F KeepBelow(F a, int n, float other) {
  return {_mm256_blendv_ps(_mm256_set1_ps(other), a.v, _mm256_castsi256_ps(FirstLanes(n)))};
}
PRECIS_INLINE float ReduceAdd(F a) {
  __m128 x = _mm_add_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
  x = _mm_add_ps(x, _mm_movehl_ps(x, x));
  return _mm_cvtss_f32(_mm_add_ss(x, _mm_shuffle_ps(x, x, 1)));
}
PRECIS_INLINE float ReduceMax(F a) {
  __m128 x = _mm_max_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
  x = _mm_max_ps(x, _mm_movehl_ps(x, x));
  return _mm_cvtss_f32(_mm_max_ss(x, _mm_shuffle_ps(x, x, 1)));
}
PRECIS_INLINE float First(F a) { return _mm256_cvtss_f32(a.v); }

// 2^n for whole n in [-127, 127]; 2^-127 is 0.
PRECIS_INLINE F ExpOfWhole(F n) {
  const __m256i biased = _mm256_add_epi32(_mm256_cvtps_epi32(n.v), _mm256_set1_epi32(127));
  return {_mm256_castsi256_ps(_mm256_slli_epi32(biased, 23))};
}
PRECIS_INLINE F Round(F a) {
  return {_mm256_round_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}

// Elements of the KV cache: f32 as they are, bf16 widened.
PRECIS_INLINE F LoadKv(const float* p) { return Load(p); }
PRECIS_INLINE F LoadKv(const uint16_t* p) {
  const __m128i half = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16))};
}

// A vector of words of two bf16: the low halves and the high halves.
PRECIS_INLINE void LoadBf16Pairs(const uint16_t* p, F* even, F* odd) {
  const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  even->v = _mm256_castsi256_ps(_mm256_slli_epi32(bits, 16));
  odd->v = _mm256_castsi256_ps(_mm256_and_si256(bits, _mm256_set1_epi32(-65536)));
}
PRECIS_INLINE I SetInt(int32_t x) { return {_mm256_set1_epi32(x)}; }
PRECIS_INLINE I LoadInts(const void* p) { return {_mm256_loadu_si256(static_cast<const __m256i*>(p))}; }
PRECIS_INLINE void StoreInts(void* p, I a) { _mm256_storeu_si256(static_cast<__m256i*>(p), a.v); }
PRECIS_INLINE F ToFloat(I a) { return {_mm256_cvtepi32_ps(a.v)}; }
// 2 * kWidth bytes as int16.
PRECIS_INLINE I WidenInt8Pairs(const int8_t* p) {
  return {_mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
}
// Each lane: acc + the two products of int16.
PRECIS_INLINE I PairDot(I acc, I weights, I pairs) {
  return {_mm256_add_epi32(acc.v, _mm256_madd_epi16(weights.v, pairs.v))};
}

}  // namespace precis::kernels::avx2

#endif  // PRECIS_KERNELS_CPU_SIMD_AVX2_H_
