#ifndef PRECIS_SERVER_EXPERIMENTS_EXPERIMENT_YAML_H_
#define PRECIS_SERVER_EXPERIMENTS_EXPERIMENT_YAML_H_

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "server/experiments/experiment.h"

namespace YAML {
class Node;
}

namespace precis::server {

// The `experiments:` section of a configuration file. All keys, with their defaults, are in server/experiments/README.md.
// INVALID_ARGUMENT starts with FILE:LINE.
absl::StatusOr<ExperimentConfig> ParseExperiments(const YAML::Node& section, std::string_view file);

// The same section of a whole file. `alone`: the file holds nothing else, and another key is an error; otherwise other keys are the server's
// options and are passed over. A file without the section has no experiments.
absl::StatusOr<ExperimentConfig> ParseExperimentsText(const std::string& text, std::string_view file, bool alone);

// The same as a section, with every key that differs from its default; ParseExperiments reads it.
std::string FormatExperiments(const ExperimentConfig& config);

}  // namespace precis::server

#endif  // PRECIS_SERVER_EXPERIMENTS_EXPERIMENT_YAML_H_
