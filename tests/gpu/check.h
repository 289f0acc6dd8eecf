#ifndef PRECIS_TESTS_GPU_CHECK_H_
#define PRECIS_TESTS_GPU_CHECK_H_

// The checks of precis-gpu-check: one line each. A file of checks adds its own in a function that check_main.cc calls.

#include <functional>
#include <string>
#include <vector>

namespace precis::gpu_test {

struct Outcome {
  bool passed = false;
  bool skipped = false;
  std::string text;  // what was measured, against what is allowed; or why it was skipped
};

struct Check {
  std::string name;  // group/what, for --filter
  std::function<Outcome()> run;
};

using Checks = std::vector<Check>;

void AddAttentionForwardChecks(Checks& checks);
void AddAttentionDecodeChecks(Checks& checks);
void AddAttentionBackwardChecks(Checks& checks);
void AddOpsChecks(Checks& checks);
void AddInstructionChecks(Checks& checks);
void AddLabChecks(Checks& checks);

}  // namespace precis::gpu_test

#endif  // PRECIS_TESTS_GPU_CHECK_H_
