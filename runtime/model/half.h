#ifndef PRECIS_RUNTIME_MODEL_HALF_H_
#define PRECIS_RUNTIME_MODEL_HALF_H_

#include <bit>
#include <cmath>
#include <cstdint>

namespace precis::runtime {

inline float Bfloat16ToFloat(uint16_t bits) { return std::bit_cast<float>(uint32_t{bits} << 16); }

// IEEE 754 binary16, exact, infinities, NaN and subnormals included.
inline float HalfToFloat(uint16_t bits) {
  const uint32_t sign = uint32_t{bits & 0x8000u} << 16;
  const uint32_t exponent = (bits >> 10) & 31;
  const uint32_t mantissa = bits & 1023;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000u | mantissa << 13);
  if (exponent != 0) return std::bit_cast<float>(sign | (exponent + 112) << 23 | mantissa << 13);
  const float magnitude = std::ldexp(static_cast<float>(mantissa), -24);
  return sign != 0 ? -magnitude : magnitude;
}

}  // namespace precis::runtime

#endif  // PRECIS_RUNTIME_MODEL_HALF_H_
