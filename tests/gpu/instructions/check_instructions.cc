// The wrapped instructions: the device's against the host's bodies, on the same random words.

#include <cmath>
#include <cstdio>
#include <cstring>

#include "kernels/gpu/cuda_ops.h"
#include "tests/gpu/check.h"
#include "tests/gpu/instructions/instructions.h"
#include "tests/gpu/support/device_array.h"

namespace precis::gpu_test {
namespace {

constexpr int kRounds = 20;

bool Agree(const Instruction& instruction, uint32_t device, uint32_t host) {
  if (device == host) return true;
  if (instruction.relative == 0 && instruction.absolute == 0) return false;
  float got, expected;
  std::memcpy(&got, &device, 4);
  std::memcpy(&expected, &host, 4);
  return std::abs(got - expected) <= instruction.relative * std::abs(expected) + instruction.absolute;
}

Outcome Compare(const Instruction& device, const Instruction& host) {
  char text[160];
  for (int round = 0; round < kRounds; ++round) {
    const std::vector<uint32_t> in = RandomWords(device.words, device.words_in, static_cast<uint64_t>(round) + 1);
    const DeviceArray<uint32_t> in_on_device(in), out_on_device(static_cast<size_t>(device.words_out));
    out_on_device.Poison();
    device.run(in_on_device.get(), out_on_device.get(), {nullptr});
    PRECIS_REQUIRE(kernels::cuda::TakeLaunchError());
    PRECIS_REQUIRE(cudaDeviceSynchronize());
    const std::vector<uint32_t> got = out_on_device.Get();
    std::vector<uint32_t> expected(got.size(), 0xffffffffu);
    host.run(in.data(), expected.data(), {nullptr});
    for (size_t i = 0; i < got.size(); ++i) {
      if (Agree(device, got[i], expected[i])) continue;
      std::snprintf(text, sizeof(text), "round %d, word %zu: device 0x%08x, host 0x%08x", round, i, got[i], expected[i]);
      return {.passed = false, .text = text};
    }
  }
  std::snprintf(text, sizeof(text), "%d words, %s", kRounds * device.words_out, device.relative == 0 ? "bit for bit" : "within the approximation");
  return {.passed = true, .text = text};
}

void Add(Checks& checks, const std::vector<Instruction>& device, const std::vector<Instruction>& host) {
  for (size_t i = 0; i < device.size(); ++i) {
    checks.push_back({"instruction/" + device[i].name, [device = device[i], host = host[i]] { return Compare(device, host); }});
  }
}

}  // namespace

void AddInstructionChecks(Checks& checks) {
  Add(checks, cuda::Instructions(), simt::Instructions());
  cudaDeviceProp properties;
  if (cudaGetDeviceProperties(&properties, 0) != cudaSuccess || properties.major != 9) return;  // sm_90a runs nowhere else
  Add(checks, cuda::InstructionsSm90(), simt::InstructionsSm90());
}

}  // namespace precis::gpu_test
