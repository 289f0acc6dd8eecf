#include "server/experiments/experiment_yaml.h"

#include <yaml-cpp/yaml.h>

#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_join.h"
#include "server/text.h"

namespace precis::server {
namespace {

absl::Status ErrorAt(std::string_view file, const YAML::Node& node, std::string_view message) {
  return absl::InvalidArgumentError(StrCat(file, ":", node.Mark().line + 1, ": ", message));
}

using Setter = std::function<absl::Status(const YAML::Node&)>;

// Calls the setter of each key of a mapping; unknown and repeated keys are errors.
absl::Status ReadMapping(const YAML::Node& node, std::string_view file, std::string_view what,
                         const std::map<std::string, Setter>& setters) {
  if (!node.IsMap()) return ErrorAt(file, node, StrCat(what, " must be a mapping"));
  std::set<std::string> seen;
  for (const auto& entry : node) {
    const std::string key = entry.first.IsScalar() ? entry.first.Scalar() : "";
    const auto setter = setters.find(key);
    if (setter == setters.end()) {
      const auto name = [](std::string* out, const auto& s) { out->append(s.first); };
      return ErrorAt(file, entry.first,
                     StrCat("unknown key '", key, "' in ", what, "; known are ",
                                  absl::StrJoin(setters, ", ", name)));
    }
    if (!seen.insert(key).second) {
      return ErrorAt(file, entry.first, StrCat("key '", key, "' is given twice in ", what));
    }
    if (absl::Status s = setter->second(entry.second); !s.ok()) return s;
  }
  return absl::OkStatus();
}

Setter String(std::string_view file, std::string* out) {
  return [file, out](const YAML::Node& node) {
    if (!node.IsScalar()) return ErrorAt(file, node, "expected a single value");
    *out = node.Scalar();
    return absl::OkStatus();
  };
}

Setter Weight(std::string_view file, uint32_t* out) {
  return [file, out](const YAML::Node& node) {
    if (!node.IsScalar() || !absl::SimpleAtoi(node.Scalar(), out) || *out > kMaxWeight) {
      return ErrorAt(file, node,
                     StrCat("weight '", node.IsScalar() ? node.Scalar() : "",
                                  "' is not a whole number from 0 to ", kMaxWeight));
    }
    return absl::OkStatus();
  };
}

absl::Status ReadArms(const YAML::Node& node, std::string_view file, std::vector<Arm>* arms) {
  if (!node.IsSequence()) return ErrorAt(file, node, "arms must be a list");
  for (const YAML::Node& item : node) {
    Arm arm;
    absl::Status s = ReadMapping(item, file, "an arm",
                                 {{"name", String(file, &arm.name)},
                                  {"weight", Weight(file, &arm.weight)},
                                  {"attention_backend", String(file, &arm.attention_backend)},
                                  {"model", String(file, &arm.model)}});
    if (!s.ok()) return s;
    arms->push_back(std::move(arm));
  }
  return absl::OkStatus();
}

absl::StatusOr<Experiment> ReadExperiment(const YAML::Node& node, std::string_view file) {
  Experiment experiment;
  bool salted = false;
  const Setter salt = [&](const YAML::Node& n) {
    salted = true;
    return String(file, &experiment.salt)(n);
  };
  const Setter arms = [&](const YAML::Node& n) { return ReadArms(n, file, &experiment.arms); };
  absl::Status s = ReadMapping(node, file, "an experiment",
                               {{"name", String(file, &experiment.name)},
                                {"salt", salt},
                                {"model", String(file, &experiment.model)},
                                {"arms", arms}});
  if (!s.ok()) return s;
  if (!salted) experiment.salt = experiment.name;
  return experiment;
}

}  // namespace

absl::StatusOr<ExperimentConfig> ParseExperiments(const YAML::Node& section, std::string_view file) {
  ExperimentConfig config;
  if (section.IsNull()) return config;
  if (!section.IsSequence()) return ErrorAt(file, section, "experiments must be a list");
  for (const YAML::Node& item : section) {
    absl::StatusOr<Experiment> experiment = ReadExperiment(item, file);
    if (!experiment.ok()) return experiment.status();
    config.experiments.push_back(*std::move(experiment));
    // Validated one by one, so that the error carries the line of the experiment at fault.
    if (absl::Status s = ValidateExperiments(config); !s.ok()) return ErrorAt(file, item, ToStd(s.message()));
  }
  return config;
}

}  // namespace precis::server
