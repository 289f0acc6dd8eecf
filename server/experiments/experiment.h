#ifndef PRECIS_SERVER_EXPERIMENTS_EXPERIMENT_H_
#define PRECIS_SERVER_EXPERIMENTS_EXPERIMENT_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace precis::server {

// One way to serve the traffic of an experiment.
struct Arm {
  std::string name;
  uint32_t weight = 1;            // its share is weight / sum of weights; 0 gives it no traffic
  std::string attention_backend;
  std::string model;              // empty: the request's model
  // Defaults of generation options by their name in GenerationOptions; what a request sets itself wins.
  std::map<std::string, double> options;
};

// Who may share a step of the engine with an arm's requests.
enum class Batching : uint8_t {
  kMixed,        // anyone: what production does
  kHomogeneous,  // only requests of the same arm; arms (and all other traffic) take turns, step by step
  kSwitchback,   // all units have the same arm for a slice of time
};
std::string_view BatchingName(Batching batching);

// From `from` on, this part of the units takes part.
struct RampStep {
  absl::Time from = absl::InfinitePast();
  uint32_t share_ppm = 1'000'000;  // parts per million
};

// What stops an arm by itself. Each is tested by an always-valid interval, so that it may be looked at all the time; 0 turns one off.
struct Guardrails {
  double error_rate_increase = 0.02;  // over the control's, absolute
  double p99_ratio = 2;               // p99 of total_seconds over the control's
  double p99_seconds = 0;             // p99 of total_seconds, absolute
  bool sample_ratio = true;           // stops the experiment
};

struct Analysis {
  double alpha = 0.05;
  double mde = 0.05;           // relative effect that matters; also the scale of the always-valid intervals
  double mde_absolute = 0.02;  // the same for shares and scores
  int64_t min_units = 100;     // in each arm, before anything is concluded
  int64_t planned_units = 0;   // in each arm, when fixed-horizon results are shown; 0: never
  std::string primary = "total_seconds";
};

// Who takes part: for each metadata key, one of these values.
using Eligibility = std::vector<std::pair<std::string, std::vector<std::string>>>;

struct Experiment {
  std::string name;
  std::string salt;   // changing it reshuffles the units
  std::string model;  // applies to requests for this model only; empty: to all
  std::vector<Arm> arms;

  std::string control;  // empty: the first arm
  bool aa = false;      // all arms are the same, on purpose: a check of the whole apparatus
  // "unit_id" (the request's unit, see server/README.md), "request" (each its own), or "metadata:KEY".
  std::string unit = "unit_id";
  Eligibility eligible;
  // Experiments of one layer take disjoint units: those whose slot, of kSlots, is slot_low .. slot_high.
  std::string layer;
  int slot_low = 0, slot_high = 999;
  absl::Time start = absl::InfinitePast(), end = absl::InfiniteFuture();
  std::vector<RampStep> ramp;  // in order of time, shares never falling; empty: all at once
  Batching batching = Batching::kMixed;
  absl::Duration slice = absl::Minutes(10), washout = absl::Seconds(30);  // of switchback
  Guardrails guardrails;
  uint32_t shadow_ppm = 0;              // part of the requests that is replayed
  std::vector<std::string> shadow_arms;  // beside the control; empty: all
  Analysis analysis;

  const Arm& control_arm() const;
  int ArmIndex(std::string_view arm) const;  // -1 if there is none
  // 16 hex digits over all that decides what an observation means. Results are kept by it: another salt, weight or arm starts anew;
  // ramp, guardrails, times, shadow and analysis may change under way.
  std::string Fingerprint() const;
};

// All experiments, as one immutable snapshot. A reload makes a new one with a higher generation; requests in
// flight keep theirs.
struct ExperimentConfig {
  uint64_t generation = 1;
  std::vector<Experiment> experiments;

  const Experiment* Find(std::string_view name) const;
};

inline constexpr int kMaxExperiments = 16;
inline constexpr int kMaxArms = 16;
inline constexpr uint32_t kMaxWeight = 1'000'000;
inline constexpr int kSlots = 1000;

// INVALID_ARGUMENT names the experiment and what is wrong with it. Two experiments that could both take a request are refused, so that the order
// of the file means nothing and a ramp never moves a unit from one to the other.
absl::Status ValidateExperiments(const ExperimentConfig& config);

// Holds the running snapshot. Thread-safe.
class ExperimentStore {
 public:
  explicit ExperimentStore(ExperimentConfig config);
  std::shared_ptr<const ExperimentConfig> snapshot() const;
  // Validates; on error the running snapshot stays. The generation is set to the running one plus one.
  absl::Status Publish(ExperimentConfig config);
  // The first configuration, valid, with the generation that it carries.
  void Start(ExperimentConfig config);

 private:
  mutable absl::Mutex mutex_;
  std::shared_ptr<const ExperimentConfig> snapshot_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace precis::server

#endif  // PRECIS_SERVER_EXPERIMENTS_EXPERIMENT_H_
