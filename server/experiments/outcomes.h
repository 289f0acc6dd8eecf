#ifndef PRECIS_SERVER_EXPERIMENTS_OUTCOMES_H_
#define PRECIS_SERVER_EXPERIMENTS_OUTCOMES_H_

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace precis::server {

// What an experiment measures. Names and order are part of the state file: append only.
enum class OutcomeId : uint8_t {
  kTotalSeconds,
  kTimeToFirstToken,
  kTimePerOutputToken,
  kQueueSeconds,
  kPeakMemoryBytes,
  kNewTokens,
  kError,
  kThumbs,
  kEditRatio,
  kScore,
  kEnergyJoules,
};
inline constexpr int kOutcomes = 11;

struct OutcomeInfo {
  std::string_view name;
  bool relative;         // compared by ratio; else by difference
  int better;            // -1: less is better, 1: more is, 0: neither
  bool quantiles;        // a sketch is kept beside the mean
  bool share;            // 0 or 1
  bool from_caller;      // by RecordOutcome
  double low, high;      // what RecordOutcome takes
};

const OutcomeInfo& Info(OutcomeId id);
// -1 if there is none of this name.
int FindOutcome(std::string_view name);

// A request's outcomes, as far as they are known.
struct Observation {
  int group = 0;               // of its unit, 0 .. stats::kGroups - 1
  double prompt_tokens = 0;    // covariate: known before the arm acts
  std::vector<std::pair<OutcomeId, double>> values;
};

}  // namespace precis::server

#endif  // PRECIS_SERVER_EXPERIMENTS_OUTCOMES_H_
