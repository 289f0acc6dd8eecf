#include "server/experiments/outcomes.h"

namespace precis::server {
namespace {

constexpr OutcomeInfo kInfo[kOutcomes] = {
    // name, relative, better, quantiles, share, from_caller, low, high
    {"total_seconds", true, -1, true, false, false, 0, 0},
    {"time_to_first_token_seconds", true, -1, true, false, false, 0, 0},
    {"time_per_output_token_seconds", true, -1, true, false, false, 0, 0},
    {"queue_seconds", true, -1, true, false, false, 0, 0},
    {"peak_memory_bytes", true, -1, true, false, false, 0, 0},
    {"new_tokens", true, 0, false, false, false, 0, 0},
    {"error", false, -1, false, true, false, 0, 0},
    {"thumbs", false, 1, false, true, true, 0, 1},
    {"edit_ratio", false, -1, false, false, true, 0, 1},
    {"score", false, 1, false, false, true, -1e9, 1e9},
    {"energy_joules", true, -1, true, false, false, 0, 0},
};

}  // namespace

const OutcomeInfo& Info(OutcomeId id) { return kInfo[static_cast<int>(id)]; }

int FindOutcome(std::string_view name) {
  for (int i = 0; i < kOutcomes; ++i) {
    if (kInfo[i].name == name) return i;
  }
  return -1;
}

}  // namespace precis::server
