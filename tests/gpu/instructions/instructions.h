#ifndef PRECIS_TESTS_GPU_INSTRUCTIONS_INSTRUCTIONS_H_
#define PRECIS_TESTS_GPU_INSTRUCTIONS_INSTRUCTIONS_H_

// Every instruction that the kernels wrap (kernels/cuda/platform), executed alone: one kernel each, compiled for the device and for the host. precis-gpu-check
// holds the two to each other bit for bit; tests/simt/instructions_test.cc holds the host's to the layouts that the PTX ISA documents.

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/gpu/stream.h"

namespace precis::gpu_test {

// What random words an instruction is given.
enum class Words : uint8_t {
  kBits,       // any
  kBf16Pairs,  // two bf16 integers of -4 .. 4: sums of products are exact in any order
  kFloats,     // finite, of many sizes
  kPositive,   // floats of 2^-20 .. 2^20
  kSmall,      // floats of -20 .. 20
};

struct Instruction {
  std::string name;
  Words words = Words::kBits;
  int words_in = 0, words_out = 0;
  // Both 0: bit for bit. Else the words are floats, which the device approximates: allowed is relative * |host's| + absolute.
  double relative = 0, absolute = 0;
  // `in` and `out` are memory of the device that runs it; `out` is all ones before.
  void (*run)(const uint32_t* in, uint32_t* out, kernels::Stream stream) = nullptr;
};

std::vector<uint32_t> RandomWords(Words words, int count, uint64_t seed);

// In the same order in both worlds. The sm_90a ones are apart: older devices lack them.
namespace cuda {
std::vector<Instruction> Instructions();
std::vector<Instruction> InstructionsSm90();
}  // namespace cuda
namespace simt {
std::vector<Instruction> Instructions();
std::vector<Instruction> InstructionsSm90();
}  // namespace simt

}  // namespace precis::gpu_test

#endif  // PRECIS_TESTS_GPU_INSTRUCTIONS_INSTRUCTIONS_H_
