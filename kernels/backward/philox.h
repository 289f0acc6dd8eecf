#ifndef PRECIS_KERNELS_BACKWARD_PHILOX_H_
#define PRECIS_KERNELS_BACKWARD_PHILOX_H_

// The random numbers of dropout: four words as a function of counters (Salmon et al. 2011).

#include <cstdint>

#include "kernels/cuda/platform/platform.h"

namespace precis::kernels::PRECIS_GPU_NS {

struct Random4 {
  uint32_t v[4];
};

PRECIS_DEVICE uint32_t HighProduct(uint32_t a, uint32_t b) { return static_cast<uint32_t>((uint64_t{a} * b) >> 32); }

// Philox 4x32-10 (Salmon et al. 2011).
PRECIS_DEVICE Random4 Philox(uint64_t counter, uint64_t stream, uint64_t seed) {
  uint32_t c[4] = {static_cast<uint32_t>(counter), static_cast<uint32_t>(counter >> 32), static_cast<uint32_t>(stream),
                   static_cast<uint32_t>(stream >> 32)};
  uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
  PRECIS_UNROLL
  for (int round = 0; round < 10; ++round) {
    const uint32_t high0 = HighProduct(0xD2511F53u, c[0]), low0 = 0xD2511F53u * c[0];
    const uint32_t high1 = HighProduct(0xCD9E8D57u, c[2]), low1 = 0xCD9E8D57u * c[2];
    c[0] = high1 ^ c[1] ^ k0;
    c[1] = low1;
    c[2] = high0 ^ c[3] ^ k1;
    c[3] = low0;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {{c[0], c[1], c[2], c[3]}};
}

}  // namespace precis::kernels::PRECIS_GPU_NS

#endif  // PRECIS_KERNELS_BACKWARD_PHILOX_H_
