#ifndef PRECIS_KERNELS_CPU_TRAIN_ELEMENTS_H_
#define PRECIS_KERNELS_CPU_TRAIN_ELEMENTS_H_

// Vectors of T (float, or bf16 as uint16_t) in memory. Included by isa_*.cc after vector_math.h.
namespace precis::kernels::PRECIS_ISA {

// To nearest even; NaN stays NaN.
PRECIS_INLINE uint16_t RoundBf16(float value) {
  uint32_t bits;
  __builtin_memcpy(&bits, &value, 4);
  const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const uint32_t nan = (bits >> 16) | 0x40u;
  return static_cast<uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? nan : rounded);
}
PRECIS_INLINE float WidenBf16(uint16_t value) {
  const uint32_t bits = uint32_t{value} << 16;
  float result;
  __builtin_memcpy(&result, &bits, 4);
  return result;
}
PRECIS_INLINE float Widen(float value) { return value; }
PRECIS_INLINE float Widen(uint16_t value) { return WidenBf16(value); }
PRECIS_INLINE void Put(float* to, float value) { *to = value; }
PRECIS_INLINE void Put(uint16_t* to, float value) { *to = RoundBf16(value); }

PRECIS_INLINE F LoadT(const float* p) { return Load(p); }
PRECIS_INLINE F LoadT(const uint16_t* p) { return LoadKv(p); }
PRECIS_INLINE void StoreT(float* p, F f) { Store(p, f); }
PRECIS_INLINE void StoreT(uint16_t* p, F f) {
  alignas(64) float values[kWidth];
  Store(values, f);
  for (int i = 0; i < kWidth; ++i) p[i] = RoundBf16(values[i]);
}
// The first n lanes; the others are 0.
template <class T>
PRECIS_INLINE F LoadSome(const T* p, int n) {
  alignas(64) float values[kWidth] = {};
  for (int i = 0; i < n; ++i) values[i] = Widen(p[i]);
  return Load(values);
}
template <class T>
PRECIS_INLINE void StoreSome(T* p, F f, int n) {
  alignas(64) float values[kWidth];
  Store(values, f);
  for (int i = 0; i < n; ++i) Put(p + i, values[i]);
}

// body(offset, lanes) over [0, count) in vectors; the last may be partial. Load and Store by lanes:
template <class T>
PRECIS_INLINE F LoadLanes(const T* p, int lanes) {
  return lanes == kWidth ? LoadT(p) : LoadSome(p, lanes);
}
template <class T>
PRECIS_INLINE void StoreLanes(T* p, F f, int lanes) {
  if (lanes == kWidth) {
    StoreT(p, f);
  } else {
    StoreSome(p, f, lanes);
  }
}
template <class Body>
PRECIS_INLINE void ForVectors(int64_t count, Body body) {
  int64_t i = 0;
  for (; i + kWidth <= count; i += kWidth) body(i, kWidth);
  if (i < count) body(i, static_cast<int>(count - i));
}

}  // namespace precis::kernels::PRECIS_ISA

#endif  // PRECIS_KERNELS_CPU_TRAIN_ELEMENTS_H_
