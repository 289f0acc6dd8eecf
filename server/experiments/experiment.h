#ifndef PRECIS_SERVER_EXPERIMENTS_EXPERIMENT_H_
#define PRECIS_SERVER_EXPERIMENTS_EXPERIMENT_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"

namespace precis::server {

// One way to serve the traffic of an experiment.
struct Arm {
  std::string name;
  uint32_t weight = 1;            // its share is weight / sum of weights; 0 gives it no traffic
  std::string attention_backend;
  std::string model;              // empty: the request's model
};

struct Experiment {
  std::string name;
  std::string salt;   // changing it reshuffles the units
  std::string model;  // applies to requests for this model only; empty: to all
  std::vector<Arm> arms;
};

// All experiments, as one immutable snapshot. A reload makes a new one with a higher generation; requests in
// flight keep theirs.
struct ExperimentConfig {
  uint64_t generation = 1;
  std::vector<Experiment> experiments;
};

inline constexpr int kMaxExperiments = 16;
inline constexpr int kMaxArms = 16;
inline constexpr uint32_t kMaxWeight = 1'000'000;

// INVALID_ARGUMENT names the experiment and what is wrong with it.
absl::Status ValidateExperiments(const ExperimentConfig& config);

// The hash that assigns units: the first 8 bytes, big-endian, of SHA-256(salt, a zero byte, unit id).
//   Python: int.from_bytes(hashlib.sha256(salt + b"\0" + unit).digest()[:8], "big")
uint64_t AssignmentHash(std::string_view salt, std::string_view unit_id);

// The arm of a unit: with W the sum of weights, the arm whose interval of cumulative weights holds
// floor(hash * W / 2^64). Stable across restarts and replicas.
const Arm& ChooseArm(const Experiment& experiment, std::string_view unit_id);

enum class AssignmentReason : uint8_t { kNone, kAssigned, kForced, kFallback };
std::string_view AssignmentReasonName(AssignmentReason reason);  // "none", "assigned", ...

struct AssignmentResult {
  const Experiment* experiment = nullptr;  // points into the config
  const Arm* arm = nullptr;
  AssignmentReason reason = AssignmentReason::kNone;
};

// What a request gets. One that names its backend is kForced and keeps it. Else the first experiment that applies to
// `model`, the one that would serve the request without experiments, assigns an arm.
AssignmentResult AssignArm(const ExperimentConfig& config, std::string_view unit_id, std::string_view model,
                           std::string_view requested_backend);

// Holds the running snapshot. Thread-safe.
class ExperimentStore {
 public:
  explicit ExperimentStore(ExperimentConfig config);
  std::shared_ptr<const ExperimentConfig> snapshot() const;
  // Validates; on error the running snapshot stays. The generation is set to the running one plus one.
  absl::Status Publish(ExperimentConfig config);

 private:
  mutable absl::Mutex mutex_;
  std::shared_ptr<const ExperimentConfig> snapshot_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace precis::server

#endif  // PRECIS_SERVER_EXPERIMENTS_EXPERIMENT_H_
