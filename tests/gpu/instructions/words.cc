#include <cmath>
#include <cstring>
#include <random>

#include "tests/gpu/instructions/instructions.h"

namespace precis::gpu_test {
namespace {

uint32_t BitsOf(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  return bits;
}

uint32_t Bf16Integer(std::mt19937_64& random) { return BitsOf(static_cast<float>(static_cast<int>(random() % 9) - 4)) >> 16; }

}  // namespace

std::vector<uint32_t> RandomWords(Words words, int count, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::uniform_real_distribution<float> unit(-1, 1);
  std::vector<uint32_t> out(static_cast<size_t>(count));
  for (uint32_t& word : out) {
    switch (words) {
      case Words::kBits: word = static_cast<uint32_t>(random()); break;
      case Words::kBf16Pairs: word = Bf16Integer(random) | Bf16Integer(random) << 16; break;
      case Words::kFloats: word = BitsOf(std::ldexp(unit(random), static_cast<int>(random() % 41) - 20)); break;
      case Words::kPositive: word = BitsOf(std::exp2(20 * unit(random))); break;
      case Words::kSmall: word = BitsOf(20 * unit(random)); break;
    }
  }
  return out;
}

}  // namespace precis::gpu_test
