#ifndef PRECIS_KERNELS_CUDA_ELEMENT_IO_H_
#define PRECIS_KERNELS_CUDA_ELEMENT_IO_H_

// Reading and writing activations as floats, whatever their type: single elements, and 16 bytes at a time.

#include <cstdint>

#include "kernels/cuda/platform/platform.h"
#include "kernels/gpu/gpu_ops.h"

namespace precis::kernels::PRECIS_GPU_NS {

PRECIS_DEVICE float LoadElement(const float* p) { return *p; }
PRECIS_DEVICE float LoadElement(const Bf16* p) { return ToFloat(*p); }
PRECIS_DEVICE void StoreElement(float* p, float v) { *p = v; }
PRECIS_DEVICE void StoreElement(Bf16* p, float v) { *p = ToBf16(v); }

// Elements of T in 16 bytes.
template <class T>
inline constexpr int kPerVector = 16 / static_cast<int>(sizeof(T));

PRECIS_DEVICE float BitsToFloat(uint32_t bits) {
#ifdef __CUDA_ARCH__
  return __uint_as_float(bits);
#else
  float value;
  __builtin_memcpy(&value, &bits, sizeof(value));
  return value;
#endif
}
PRECIS_DEVICE uint32_t FloatToBits(float value) {
#ifdef __CUDA_ARCH__
  return __float_as_uint(value);
#else
  uint32_t bits;
  __builtin_memcpy(&bits, &value, sizeof(bits));
  return bits;
#endif
}

// p must be 16-byte aligned.
PRECIS_DEVICE void LoadVector(const float* p, float (&v)[4]) {
  const Vec16 raw = Load16(p);
  PRECIS_UNROLL
  for (int i = 0; i < 4; ++i) v[i] = BitsToFloat(raw.w[i]);
}
PRECIS_DEVICE void LoadVector(const Bf16* p, float (&v)[8]) {
  const Vec16 raw = Load16(p);
  PRECIS_UNROLL
  for (int i = 0; i < 4; ++i) UnpackBf16(raw.w[i], v[2 * i], v[2 * i + 1]);
}
PRECIS_DEVICE void StoreVector(float* p, const float (&v)[4]) {
  Vec16 raw;
  PRECIS_UNROLL
  for (int i = 0; i < 4; ++i) raw.w[i] = FloatToBits(v[i]);
  Store16(p, raw);
}
PRECIS_DEVICE void StoreVector(Bf16* p, const float (&v)[8]) {
  Vec16 raw;
  PRECIS_UNROLL
  for (int i = 0; i < 4; ++i) raw.w[i] = PackBf16(v[2 * i], v[2 * i + 1]);
  Store16(p, raw);
}

// Four elements, 16 or 8 bytes; p must be aligned to that (FourAligned).
PRECIS_DEVICE void LoadFour(const float* p, float (&v)[4]) { LoadVector(p, v); }
PRECIS_DEVICE void LoadFour(const Bf16* p, float (&v)[4]) {
  const uint64_t raw = *reinterpret_cast<const uint64_t*>(p);
  UnpackBf16(static_cast<uint32_t>(raw), v[0], v[1]);
  UnpackBf16(static_cast<uint32_t>(raw >> 32), v[2], v[3]);
}
PRECIS_DEVICE void StoreFour(float* p, const float (&v)[4]) { StoreVector(p, v); }
PRECIS_DEVICE void StoreFour(Bf16* p, const float (&v)[4]) {
  *reinterpret_cast<uint64_t*>(p) = PackBf16(v[0], v[1]) | static_cast<uint64_t>(PackBf16(v[2], v[3])) << 32;
}
template <class T>
PRECIS_HOST_DEVICE bool FourAligned(const T* p) { return reinterpret_cast<uintptr_t>(p) % (4 * sizeof(T)) == 0; }

}  // namespace precis::kernels::PRECIS_GPU_NS

#endif  // PRECIS_KERNELS_CUDA_ELEMENT_IO_H_
