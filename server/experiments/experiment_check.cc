// What makes a set of experiments valid.
#include <algorithm>
#include <set>

#include "server/experiments/experiment.h"
#include "server/text.h"

namespace precis::server {
namespace {

// Names become metric labels.
bool IsName(std::string_view name) {
  if (name.empty() || name.size() > 64 || name == "none") return false;
  for (char c : name) {
    if (!absl::ascii_isalnum(c) && c != '_' && c != '-' && c != '.') return false;
  }
  return true;
}

absl::Status CheckName(std::string_view what, std::string_view name) {
  if (IsName(name)) return absl::OkStatus();
  return absl::InvalidArgumentError(StrCat(
      what, " '", name, "': a name is 1 to 64 letters, digits, '_', '-' or '.', and not 'none'"));
}

absl::Status CheckArm(const Experiment& experiment, const Arm& arm, const std::string& where) {
  if (absl::Status s = CheckName(where + "arm", arm.name); !s.ok()) return s;
  if (arm.weight > kMaxWeight) {
    return absl::InvalidArgumentError(StrCat(where, "arm '", arm.name, "' has weight ", arm.weight,
                                                   "; whole numbers from 0 to ", kMaxWeight, " are allowed"));
  }
  if (arm.attention_backend.empty()) {
    return absl::InvalidArgumentError(
        StrCat(where, "arm '", arm.name, "' names no attention_backend"));
  }
  if (!arm.model.empty() && !experiment.model.empty() && arm.model != experiment.model) {
    return absl::InvalidArgumentError(
        StrCat(where, "arm '", arm.name, "' names model '", arm.model,
                     "' but the experiment applies to requests for model '", experiment.model, "' only"));
  }
  return absl::OkStatus();
}

// Arms that do the same are a mistake, or an A/A test that says so.
absl::Status CheckDifferent(const Experiment& experiment, const std::string& where) {
  const auto same = [](const Arm& a, const Arm& b) {
    return a.attention_backend == b.attention_backend && a.model == b.model && a.options == b.options;
  };
  for (size_t i = 0; i < experiment.arms.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      const Arm &a = experiment.arms[j], &b = experiment.arms[i];
      if (experiment.aa && !same(a, b)) {
        return absl::InvalidArgumentError(StrCat(where, "it is an A/A test (aa: true), but arms '", a.name, "' and '", b.name, "' differ"));
      }
      if (!experiment.aa && same(a, b)) {
        return absl::InvalidArgumentError(
            StrCat(where, "arms '", a.name, "' and '", b.name, "' are the same; say aa: true if that is meant"));
      }
    }
  }
  return absl::OkStatus();
}

absl::Status CheckArms(const Experiment& experiment, const std::string& where) {
  if (experiment.arms.size() < 2 || experiment.arms.size() > kMaxArms) {
    return absl::InvalidArgumentError(
        StrCat(where, experiment.arms.size(), " arms given; 2 to ", kMaxArms, " are allowed"));
  }
  std::set<std::string_view> names;
  uint64_t total = 0;
  for (const Arm& arm : experiment.arms) {
    if (absl::Status s = CheckArm(experiment, arm, where); !s.ok()) return s;
    if (!names.insert(arm.name).second) {
      return absl::InvalidArgumentError(StrCat(where, "arm '", arm.name, "' is given twice"));
    }
    total += arm.weight;
  }
  if (total == 0) return absl::InvalidArgumentError(where + "the weights of its arms are all 0");
  if (!experiment.control.empty() && experiment.ArmIndex(experiment.control) < 0) {
    return absl::InvalidArgumentError(StrCat(where, "control '", experiment.control, "' is none of its arms"));
  }
  for (const std::string& arm : experiment.shadow_arms) {
    if (experiment.ArmIndex(arm) < 0) return absl::InvalidArgumentError(StrCat(where, "shadow arm '", arm, "' is none of its arms"));
    if (arm == experiment.control_arm().name) {
      return absl::InvalidArgumentError(StrCat(where, "shadow arm '", arm, "' is the control, which every pair has anyhow"));
    }
  }
  return CheckDifferent(experiment, where);
}

absl::Status CheckTimes(const Experiment& experiment, const std::string& where) {
  if (experiment.end <= experiment.start) return absl::InvalidArgumentError(where + "its end is not after its start");
  for (size_t i = 1; i < experiment.ramp.size(); ++i) {
    const RampStep &before = experiment.ramp[i - 1], &step = experiment.ramp[i];
    if (step.from <= before.from) return absl::InvalidArgumentError(StrCat(where, "step ", i + 1, " of the ramp is not after the one before"));
    if (step.share_ppm < before.share_ppm) {
      return absl::InvalidArgumentError(
          StrCat(where, "step ", i + 1, " of the ramp has a smaller share than the one before; units that are in must stay in"));
    }
  }
  if (experiment.batching == Batching::kSwitchback &&
      (experiment.slice < absl::Seconds(1) || experiment.washout < absl::ZeroDuration() || 2 * experiment.washout > experiment.slice)) {
    return absl::InvalidArgumentError(where + "a slice has at least 1s, and its washout at most half of it");
  }
  return absl::OkStatus();
}

absl::Status CheckUnits(const Experiment& experiment, const std::string& where) {
  const std::string& unit = experiment.unit;
  if (unit != "unit_id" && unit != "request" && !(StartsWith(unit, "metadata:") && unit.size() > 9)) {
    return absl::InvalidArgumentError(StrCat(where, "unit '", unit, "': give unit_id, request or metadata:KEY"));
  }
  if (experiment.salt.size() > 256 || std::any_of(experiment.salt.begin(), experiment.salt.end(), absl::ascii_iscntrl)) {
    return absl::InvalidArgumentError(StrCat(where, "the salt has ", experiment.salt.size(),
                                             " bytes; at most 256 are allowed, none of them a control character"));
  }
  if (experiment.slot_low < 0 || experiment.slot_high >= kSlots || experiment.slot_low > experiment.slot_high) {
    return absl::InvalidArgumentError(
        StrCat(where, "slots ", experiment.slot_low, " to ", experiment.slot_high, "; 0 to ", kSlots - 1, " exist"));
  }
  if (!experiment.layer.empty()) return CheckName(where + "layer", experiment.layer);
  return absl::OkStatus();
}

// True if no request can fit both.
bool AreDisjoint(const Experiment& a, const Experiment& b) {
  if (!a.model.empty() && !b.model.empty() && a.model != b.model) return true;
  if (a.end <= b.start || b.end <= a.start) return true;
  if (!a.layer.empty() && a.layer == b.layer && a.unit == b.unit && (a.slot_high < b.slot_low || b.slot_high < a.slot_low)) return true;
  for (const auto& [key, values] : a.eligible) {
    for (const auto& [other_key, other_values] : b.eligible) {
      if (key != other_key) continue;
      const auto shared = [&o = other_values](const std::string& value) { return std::find(o.begin(), o.end(), value) != o.end(); };
      if (std::none_of(values.begin(), values.end(), shared)) return true;
    }
  }
  return false;
}

}  // namespace

absl::Status ValidateExperiments(const ExperimentConfig& config) {
  if (config.experiments.size() > kMaxExperiments) {
    return absl::InvalidArgumentError(StrCat(config.experiments.size(), " experiments given; at most ",
                                                   kMaxExperiments, " are allowed"));
  }
  for (size_t i = 0; i < config.experiments.size(); ++i) {
    const Experiment& experiment = config.experiments[i];
    if (absl::Status s = CheckName("experiment", experiment.name); !s.ok()) return s;
    const std::string where = StrCat("experiment '", experiment.name, "': ");
    if (absl::Status s = CheckUnits(experiment, where); !s.ok()) return s;
    if (absl::Status s = CheckArms(experiment, where); !s.ok()) return s;
    if (absl::Status s = CheckTimes(experiment, where); !s.ok()) return s;
    for (size_t j = 0; j < i; ++j) {
      const Experiment& other = config.experiments[j];
      if (other.name == experiment.name) return absl::InvalidArgumentError(StrCat("experiment '", experiment.name, "' is given twice"));
      if (AreDisjoint(other, experiment)) continue;
      return absl::InvalidArgumentError(
          StrCat(where, "it and '", other.name, "' may take the same requests; give each its own model, eligible values, time, or slots of one layer"));
    }
  }
  return absl::OkStatus();
}

}  // namespace precis::server
