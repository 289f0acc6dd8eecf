#ifndef PRECIS_KERNELS_CPU_SIMD_AVX512_H_
#define PRECIS_KERNELS_CPU_SIMD_AVX512_H_

#include <immintrin.h>

#include <cmath>
#include <cstdint>
#include <cstring>

#include "kernels/cpu/simd_macros.h"

#define PRECIS_HAS_DOT 1

// See simd_avx2.h for what each function does.
namespace precis::kernels::avx512 {

inline constexpr int kWidth = 16;
inline constexpr int kMaxRows = 12;

struct F {
  __m512 v;
};
struct I {
  __m512i v;
};

PRECIS_INLINE F Set(float x) { return {_mm512_set1_ps(x)}; }
PRECIS_INLINE F Zero() { return {_mm512_setzero_ps()}; }
PRECIS_INLINE F Load(const float* p) { return {_mm512_loadu_ps(p)}; }
PRECIS_INLINE void Store(float* p, F f) { _mm512_storeu_ps(p, f.v); }
PRECIS_INLINE __mmask16 FirstLanes(int n) {
  return n >= 16 ? static_cast<__mmask16>(0xffff)
                 : static_cast<__mmask16>(n <= 0 ? 0 : (1u << n) - 1);
}
PRECIS_INLINE F LoadPartial(const float* p, int n) { return {_mm512_maskz_loadu_ps(FirstLanes(n), p)}; }
PRECIS_INLINE void StorePartial(float* p, F f, int n) { _mm512_mask_storeu_ps(p, FirstLanes(n), f.v); }
PRECIS_INLINE F Add(F a, F b) { return {_mm512_add_ps(a.v, b.v)}; }
PRECIS_INLINE F Sub(F a, F b) { return {_mm512_sub_ps(a.v, b.v)}; }
PRECIS_INLINE F Mul(F a, F b) { return {_mm512_mul_ps(a.v, b.v)}; }
PRECIS_INLINE F Div(F a, F b) { return {_mm512_div_ps(a.v, b.v)}; }
PRECIS_INLINE F Fma(F a, F b, F c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
PRECIS_INLINE F Max(F a, F b) { return {_mm512_max_ps(a.v, b.v)}; }
PRECIS_INLINE F Min(F a, F b) { return {_mm512_min_ps(a.v, b.v)}; }
PRECIS_INLINE F Iota() {
  return {_mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)};
}
PRECIS_INLINE F CopySign(F magnitude, F sign) {
  const __m512 bit = _mm512_set1_ps(-0.0f);
  return {_mm512_or_ps(_mm512_andnot_ps(bit, magnitude.v), _mm512_and_ps(bit, sign.v))};
}
PRECIS_INLINE F Abs(F a) { return {_mm512_andnot_ps(_mm512_set1_ps(-0.0f), a.v)}; }
PRECIS_INLINE F KeepBelow(F a, int n, float other) {
  return {_mm512_mask_blend_ps(FirstLanes(n), _mm512_set1_ps(other), a.v)};
}
PRECIS_INLINE __m256 UpperHalf(F a) { return _mm512_extractf32x8_ps(a.v, 1); }
PRECIS_INLINE float ReduceAdd(F a) {
  const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(a.v), UpperHalf(a));
  __m128 x = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
  x = _mm_add_ps(x, _mm_movehl_ps(x, x));
  return _mm_cvtss_f32(_mm_add_ss(x, _mm_shuffle_ps(x, x, 1)));
}
PRECIS_INLINE float ReduceMax(F a) {
  const __m256 half = _mm256_max_ps(_mm512_castps512_ps256(a.v), UpperHalf(a));
  __m128 x = _mm_max_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
  x = _mm_max_ps(x, _mm_movehl_ps(x, x));
  return _mm_cvtss_f32(_mm_max_ss(x, _mm_shuffle_ps(x, x, 1)));
}
PRECIS_INLINE float First(F a) { return _mm512_cvtss_f32(a.v); }

PRECIS_INLINE F ExpOfWhole(F n) {
  const __m512i biased = _mm512_add_epi32(_mm512_cvtps_epi32(n.v), _mm512_set1_epi32(127));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(biased, 23))};
}
PRECIS_INLINE F Round(F a) {
  return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}

PRECIS_INLINE F LoadKv(const float* p) { return Load(p); }
PRECIS_INLINE F LoadKv(const uint16_t* p) {
  const __m256i half = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16))};
}

PRECIS_INLINE void LoadBf16Pairs(const uint16_t* p, F* even, F* odd) {
  const __m512i bits = _mm512_loadu_si512(p);
  even->v = _mm512_castsi512_ps(_mm512_slli_epi32(bits, 16));
  odd->v = _mm512_castsi512_ps(_mm512_and_si512(bits, _mm512_set1_epi32(-65536)));
}
PRECIS_INLINE I SetInt(int32_t x) { return {_mm512_set1_epi32(x)}; }
PRECIS_INLINE I LoadInts(const void* p) { return {_mm512_loadu_si512(p)}; }
PRECIS_INLINE F ToFloat(I a) { return {_mm512_cvtepi32_ps(a.v)}; }
// Each lane: acc + odd x odd + even x even, of two bf16 each.
PRECIS_INLINE F Bf16Dot(F acc, I weights, I pairs) {
  return {_mm512_dpbf16_ps(acc.v, (__m512bh)weights.v, (__m512bh)pairs.v)};
}
// Each lane: acc + the four products of an unsigned weight and a signed activation.
PRECIS_INLINE I Int8Dot(I acc, I weights, I quads) { return {_mm512_dpbusd_epi32(acc.v, weights.v, quads.v)}; }

}  // namespace precis::kernels::avx512

#endif  // PRECIS_KERNELS_CPU_SIMD_AVX512_H_
