#ifndef PRECIS_KERNELS_CUDA_OPS_SAMPLE_MATH_H_
#define PRECIS_KERNELS_CUDA_OPS_SAMPLE_MATH_H_

// Arithmetic of sampling that must agree with the host's (runtime/sampling).

#include <cstdint>

#include "kernels/cuda/element_io.h"

namespace precis::kernels::PRECIS_GPU_NS {

// The float with this key (sample.cu).
PRECIS_DEVICE float FromKey(uint32_t key) { return BitsToFloat((key >> 31) != 0 ? key & 0x7fffffffu : ~key); }

PRECIS_DEVICE double PowerOfTwo(int n) {  // -1022 <= n <= 1023
  const uint64_t bits = static_cast<uint64_t>(n + 1023) << 52;
#ifdef __CUDA_ARCH__
  return __longlong_as_double(static_cast<int64_t>(bits));
#else
  double value;
  __builtin_memcpy(&value, &bits, sizeof(value));
  return value;
#endif
}

// e^x for x <= 0, 0 below -700; relative error below 1e-15: Taylor's series on [-ln 2 / 2, ln 2 / 2], whose first omitted term is 2e-17.
PRECIS_DEVICE double ExpDouble(double x) {
  if (!(x > -700.0)) return 0;
  const int n = static_cast<int>(x * 1.4426950408889634 - 0.5);
  const double r = (x - n * 0.6931471803691238) - n * 1.9082149292705877e-10;  // ln 2 in two parts
  double p = 1.0;
  PRECIS_UNROLL
  for (int i = 14; i >= 1; --i) p = 1.0 + p * r / i;
  return p * PowerOfTwo(n);
}

// Philox 4x32-10 (Salmon et al. 2011) of (step, 0) under the key `seed`: uniform in [0, 1), 53 bits.
PRECIS_DEVICE double PhiloxUniform(uint64_t seed, uint64_t step) {
  uint32_t c0 = static_cast<uint32_t>(step), c1 = static_cast<uint32_t>(step >> 32), c2 = 0, c3 = 0;
  uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{0xD2511F53} * c0, b = uint64_t{0xCD9E8D57} * c2;
    c0 = static_cast<uint32_t>(b >> 32) ^ c1 ^ k0;
    c2 = static_cast<uint32_t>(a >> 32) ^ c3 ^ k1;
    c1 = static_cast<uint32_t>(b);
    c3 = static_cast<uint32_t>(a);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  const uint64_t bits = (uint64_t{c0} << 32 | c1) >> 11;
  return static_cast<double>(bits) * 0x1.0p-53;
}

}  // namespace precis::kernels::PRECIS_GPU_NS

#endif  // PRECIS_KERNELS_CUDA_OPS_SAMPLE_MATH_H_
