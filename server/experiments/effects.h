#ifndef PRECIS_SERVER_EXPERIMENTS_EFFECTS_H_
#define PRECIS_SERVER_EXPERIMENTS_EFFECTS_H_

#include <string>
#include <vector>

#include "precis/v1/experiments.pb.h"
#include "server/experiments/experiment.h"
#include "server/experiments/results.h"

namespace precis::server {

// A mean whose error is never less than that of a share over independent observations, with a success and a failure added (Agresti, Coull):
// "all failed" would else have no error, and no guardrail would see it.
stats::Estimate ShareEstimate(const stats::GroupedMoments& moments);

// Comparisons of arm `index` with the control: for outcomes with quantiles mean (adjusted for the prompt's length), p50 and p99, for others the mean.
// Outcomes of which nothing was observed are left out. p-values are Holm-adjusted over them.
std::vector<precis::v1::Effect> CompareWithControl(const Experiment& experiment, const ExperimentResults& results, int index);

// The arm in words.
std::string Verdict(const Experiment& experiment, const std::string& arm, const std::vector<precis::v1::Effect>& effects);

}  // namespace precis::server

#endif  // PRECIS_SERVER_EXPERIMENTS_EFFECTS_H_
