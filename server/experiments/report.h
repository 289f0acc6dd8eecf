#ifndef PRECIS_SERVER_EXPERIMENTS_REPORT_H_
#define PRECIS_SERVER_EXPERIMENTS_REPORT_H_

#include <optional>
#include <string>
#include <vector>

#include "precis/v1/experiments.pb.h"
#include "server/experiments/experiment.h"
#include "server/experiments/results.h"

namespace precis::server {

// Below this the sample ratio is called wrong. It is looked at all the time, so the p-value is always valid; small, since it stops experiments.
inline constexpr double kSampleRatioAlpha = 0.001;

// Fills what the configuration says.
void FillExperiment(const Experiment& experiment, uint64_t generation, absl::Time now, precis::v1::Experiment* out);

// Arms, effects against the control, sample ratio and verdicts. Decisions, history, peers and states are the caller's.
precis::v1::Report MakeReport(const Experiment& experiment, const ExperimentResults& results);

// What an arm did that it may not.
struct Breach {
  std::string arm;        // empty: the whole experiment
  std::string guardrail;  // error_rate, p99_ratio, p99_seconds or sample_ratio
  std::string detail;
};

// The guardrails that are broken, by always-valid intervals at level alpha / (guardrails x arms). At least 30 units in both arms are asked for.
std::vector<Breach> FindBreaches(const Experiment& experiment, const ExperimentResults& results);

}  // namespace precis::server

#endif  // PRECIS_SERVER_EXPERIMENTS_REPORT_H_
