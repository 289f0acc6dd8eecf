#ifndef PRECIS_RUNTIME_SAMPLING_PHILOX_H_
#define PRECIS_RUNTIME_SAMPLING_PHILOX_H_

#include <array>
#include <cstdint>

namespace precis::runtime {

// Philox 4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC 2011): four random
// words as a pure function of a 128-bit counter and a 64-bit key.
inline std::array<uint32_t, 4> Philox4x32(std::array<uint32_t, 4> counter,
                                          std::array<uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = uint64_t{0xD2511F53} * counter[0];
    const uint64_t product1 = uint64_t{0xCD9E8D57} * counter[2];
    counter = {static_cast<uint32_t>(product1 >> 32) ^ counter[1] ^ key[0],
               static_cast<uint32_t>(product1),
               static_cast<uint32_t>(product0 >> 32) ^ counter[3] ^ key[1],
               static_cast<uint32_t>(product0)};
    key[0] += 0x9E3779B9;
    key[1] += 0xBB67AE85;
  }
  return counter;
}

// Uniform in [0, 1), 53 bits: the random number of step `step` under `seed`.
inline double PhiloxUniform(uint64_t seed, uint64_t step) {
  const auto words = Philox4x32(
      {static_cast<uint32_t>(step), static_cast<uint32_t>(step >> 32), 0, 0},
      {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
  const uint64_t bits = (uint64_t{words[0]} << 32 | words[1]) >> 11;
  return static_cast<double>(bits) * 0x1.0p-53;
}

}  // namespace precis::runtime

#endif  // PRECIS_RUNTIME_SAMPLING_PHILOX_H_
