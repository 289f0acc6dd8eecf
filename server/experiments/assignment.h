#ifndef PRECIS_SERVER_EXPERIMENTS_ASSIGNMENT_H_
#define PRECIS_SERVER_EXPERIMENTS_ASSIGNMENT_H_

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "server/experiments/experiment.h"

namespace precis::server {

// The hash that assigns units: the first 8 bytes, big-endian, of SHA-256(salt, a zero byte, unit id).
//   Python: int.from_bytes(hashlib.sha256(salt + b"\0" + unit).digest()[:8], "big")
uint64_t AssignmentHash(std::string_view salt, std::string_view unit_id);

// The arm of a unit: with W the sum of weights, the arm whose interval of cumulative weights holds
// floor(hash * W / 2^64). Stable across restarts and replicas.
const Arm& ChooseArm(const Experiment& experiment, std::string_view unit_id);

// Whether the unit is among the first `share_ppm` parts per million: floor(h * 10^6 / 2^64) < share_ppm, h the hash with the salt
// "ramp", a zero byte, the experiment's salt. Who is in at a share is in at every larger one, and the arm does not depend on it.
bool InRamp(std::string_view salt, std::string_view unit_id, uint32_t share_ppm);

// floor(h * 1000 / 2^64), h the hash with the salt "layer", a zero byte, the layer's name.
int LayerSlot(std::string_view layer, std::string_view unit_id);

// The part of the units that takes part at this time: 0 before the start and after the end.
uint32_t ShareAt(const Experiment& experiment, absl::Time now);

enum class AssignmentReason : uint8_t { kNone, kAssigned, kForced, kFallback, kStopped, kWashout };
std::string_view AssignmentReasonName(AssignmentReason reason);  // "none", "assigned", ...

// What assignment looks at.
struct AssignmentFacts {
  std::string_view unit_id;
  std::string_view request_id;         // of this request alone
  std::string_view model;              // that would serve the request without experiments
  std::string_view requested_backend;  // empty: none
  absl::Time now;
  // The value of a metadata key, or empty. May be null: no metadata.
  std::function<std::string(const std::string& key)> metadata;
};

struct AssignmentResult {
  const Experiment* experiment = nullptr;  // points into the config
  const Arm* arm = nullptr;
  AssignmentReason reason = AssignmentReason::kNone;
  // The unit of variance: the unit, or the time slice of a switchback.
  std::string unit;
};

// What a request gets. The experiment that takes it is the one whose model, eligibility, layer, time and ramp it fits; a request that names its
// backend is kForced there and keeps it. Deterministic in `facts`.
AssignmentResult AssignArm(const ExperimentConfig& config, const AssignmentFacts& facts);

// The engine's batch group of an arm's requests: its own with `batching: homogeneous`, else 0, the common one.
uint64_t BatchGroup(const Experiment& experiment, const Arm& arm);

// 64 bits of the unit that are independent of its arm: which group of the statistics it is in.
uint64_t StatisticsHash(const Experiment& experiment, std::string_view unit);

}  // namespace precis::server

#endif  // PRECIS_SERVER_EXPERIMENTS_ASSIGNMENT_H_
