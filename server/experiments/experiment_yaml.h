#ifndef PRECIS_SERVER_EXPERIMENTS_EXPERIMENT_YAML_H_
#define PRECIS_SERVER_EXPERIMENTS_EXPERIMENT_YAML_H_

#include <string_view>

#include "absl/status/statusor.h"
#include "server/experiments/experiment.h"

namespace YAML {
class Node;
}

namespace precis::server {

// The `experiments:` section of the configuration file:
//
//   experiments:
//     - name: flash-vs-standard
//       salt: 2024-06           # default: the name
//       model: news             # default: any
//       arms:
//         - {name: control, weight: 1, attention_backend: standard}
//         - {name: flash, weight: 1, attention_backend: flash}
//
// INVALID_ARGUMENT starts with FILE:LINE.
absl::StatusOr<ExperimentConfig> ParseExperiments(const YAML::Node& section, std::string_view file);

}  // namespace precis::server

#endif  // PRECIS_SERVER_EXPERIMENTS_EXPERIMENT_YAML_H_
