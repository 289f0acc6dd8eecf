#ifndef PRECIS_SERVER_EXPERIMENTS_RESULTS_H_
#define PRECIS_SERVER_EXPERIMENTS_RESULTS_H_

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "server/experiments/outcomes.h"
#include "server/experiments/stats/grouped_moments.h"
#include "server/experiments/stats/grouped_quantiles.h"
#include "server/experiments/stats/rank_tests.h"
#include "server/experiments/stats/sample_ratio.h"

namespace precis::server {

// A replay of one document on the control and on an arm.
struct ShadowPair {
  double log_total_ratio = 0;        // log(arm / control)
  double log_first_token_ratio = 0;
  bool identical = false;
  double token_agreement = 0;        // share of equal tokens by position
  double rouge_l = 0;
  int first_divergence = -1;         // -1: identical
};

struct ShadowResults {
  int64_t pairs = 0, identical = 0, diverged = 0, dropped = 0;
  double token_agreement = 0, rouge_l = 0, first_divergence = 0;  // sums
  stats::SignedDifferences total, first_token;

  void Add(const ShadowPair& pair);
  void Merge(const ShadowResults& other);
};

// What is known of one arm. Its size does not grow with the traffic: at most 64 sketches for each outcome with quantiles, 256 groups for each.
struct ArmResults {
  std::array<stats::GroupedMoments, kOutcomes> moments;
  std::array<stats::GroupedQuantiles, kOutcomes> quantiles;  // filled for outcomes that have them
  ShadowResults shadow;

  void Add(const Observation& observation);
  void Merge(const ArmResults& other);
};

// All that an experiment has found; mergeable over replicas of the same fingerprint. Not thread-safe.
struct ExperimentResults {
  int64_t since_unix_seconds = 0;  // first request; 0: none yet
  std::vector<ArmResults> arms;
  stats::UnitCensus census;

  ExperimentResults() = default;
  explicit ExperimentResults(const std::vector<double>& shares);

  // A finished request of a unit.
  void AddRequest(int arm, uint64_t unit_hash, const Observation& observation, int64_t unix_seconds);
  // A later outcome of one.
  void AddOutcome(int arm, const Observation& observation);
  void Merge(const ExperimentResults& other);

  std::string Serialize() const;
  // INVALID_ARGUMENT if the bytes are none.
  static absl::StatusOr<ExperimentResults> Parse(std::string_view bytes);
};

}  // namespace precis::server

#endif  // PRECIS_SERVER_EXPERIMENTS_RESULTS_H_
