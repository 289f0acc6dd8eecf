#ifndef PRECIS_TESTS_KERNELS_BACKWARD_BF16_BITS_H_
#define PRECIS_TESTS_KERNELS_BACKWARD_BF16_BITS_H_

#include <cstdint>
#include <cstring>

#include "tests/oracle/oracle.h"

namespace precis::kernels {

// bfloat16 as it lies in memory.
inline uint16_t ToBits(float x) {
  const float rounded = oracle::RoundToBf16(x);
  uint32_t bits;
  std::memcpy(&bits, &rounded, sizeof(bits));
  return static_cast<uint16_t>(bits >> 16);
}
inline float FromBits(uint16_t half) {
  const uint32_t bits = uint32_t{half} << 16;
  float x;
  std::memcpy(&x, &bits, sizeof(x));
  return x;
}

}  // namespace precis::kernels

#endif  // PRECIS_TESTS_KERNELS_BACKWARD_BF16_BITS_H_
