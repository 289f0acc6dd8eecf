// precis-gpu-check: runs the gate of the kernels on the GPU of this machine. One line a check, then a verdict; exit code 1 if any failed.

#include <cuda_runtime_api.h>

#include <chrono>
#include <cstdio>
#include <cstring>
#include <string>

#include "tests/gpu/check.h"
#include "tests/gpu/support/device_array.h"

namespace precis::gpu_test {
namespace {

int RunChecks(const std::string& filter, bool list) {
  Checks checks;
  AddAttentionForwardChecks(checks);
  AddAttentionDecodeChecks(checks);
  AddAttentionBackwardChecks(checks);
  AddOpsChecks(checks);
  AddLabChecks(checks);
  AddInstructionChecks(checks);  // last: one that faults ends the program
  int passed = 0, failed = 0, skipped = 0;
  for (const Check& check : checks) {
    if (check.name.find(filter) == std::string::npos) continue;
    if (list) {
      std::printf("%s\n", check.name.c_str());
      continue;
    }
    const auto begin = std::chrono::steady_clock::now();
    const Outcome outcome = check.run();
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    const char* verdict = outcome.skipped ? "SKIP" : outcome.passed ? "ok  " : "FAIL";
    std::printf("%s %-60s %s [%.2f s]\n", verdict, check.name.c_str(), outcome.text.c_str(), seconds);
    std::fflush(stdout);
    ++(outcome.skipped ? skipped : outcome.passed ? passed : failed);
  }
  if (!list) std::printf("%s: %d passed, %d failed, %d skipped\n", failed == 0 ? "PASSED" : "FAILED", passed, failed, skipped);
  return failed == 0 ? 0 : 1;
}

}  // namespace
}  // namespace precis::gpu_test

int main(int argc, char** argv) {
  std::string filter;
  bool list = false;
  for (int i = 1; i < argc; ++i) {
    if (std::strncmp(argv[i], "--filter=", 9) == 0) {
      filter = argv[i] + 9;
    } else if (std::strcmp(argv[i], "--list") == 0) {
      list = true;
    } else {
      std::fprintf(stderr, "usage: precis-gpu-check [--filter=PART_OF_A_NAME] [--list]\n");
      return 2;
    }
  }
  if (!list) {
    cudaDeviceProp properties;
    PRECIS_REQUIRE(cudaGetDeviceProperties(&properties, 0));
    std::printf("GPU 0: %s, compute capability %d.%d, %d multiprocessors\n", properties.name, properties.major, properties.minor,
                properties.multiProcessorCount);
  }
  return precis::gpu_test::RunChecks(filter, list);
}
