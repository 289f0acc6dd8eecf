#include "server/experiments/experiment.h"

#include <openssl/evp.h>

#include <set>
#include <utility>

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

absl::Status CheckArms(const Experiment& experiment) {
  const std::string where = StrCat("experiment '", experiment.name, "': ");
  if (experiment.arms.size() < 2 || experiment.arms.size() > kMaxArms) {
    return absl::InvalidArgumentError(
        StrCat(where, experiment.arms.size(), " arms given; 2 to ", kMaxArms, " are allowed"));
  }
  std::set<std::string_view> names;
  uint64_t total = 0;
  for (const Arm& arm : experiment.arms) {
    if (absl::Status s = CheckName(where + "arm", arm.name); !s.ok()) return s;
    if (!names.insert(arm.name).second) {
      return absl::InvalidArgumentError(StrCat(where, "arm '", arm.name, "' is given twice"));
    }
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
    total += arm.weight;
  }
  if (total == 0) return absl::InvalidArgumentError(where + "the weights of its arms are all 0");
  return absl::OkStatus();
}

}  // namespace

absl::Status ValidateExperiments(const ExperimentConfig& config) {
  if (config.experiments.size() > kMaxExperiments) {
    return absl::InvalidArgumentError(StrCat(config.experiments.size(), " experiments given; at most ",
                                                   kMaxExperiments, " are allowed"));
  }
  std::set<std::string_view> names, models;
  for (const Experiment& experiment : config.experiments) {
    if (absl::Status s = CheckName("experiment", experiment.name); !s.ok()) return s;
    if (!names.insert(experiment.name).second) {
      return absl::InvalidArgumentError(StrCat("experiment '", experiment.name, "' is given twice"));
    }
    if (experiment.salt.size() > 256) {
      return absl::InvalidArgumentError(StrCat("experiment '", experiment.name, "': the salt has ",
                                                     experiment.salt.size(), " bytes; at most 256 are allowed"));
    }
    if (models.count("") != 0 || !models.insert(experiment.model).second) {
      return absl::InvalidArgumentError(
          StrCat("experiment '", experiment.name,
                       "' can never apply: an earlier one takes the same requests; give each its own model"));
    }
    if (absl::Status s = CheckArms(experiment); !s.ok()) return s;
  }
  return absl::OkStatus();
}

uint64_t AssignmentHash(std::string_view salt, std::string_view unit_id) {
  std::string text;
  text.reserve(salt.size() + 1 + unit_id.size());
  text.append(salt).push_back('\0');
  text.append(unit_id);
  unsigned char digest[EVP_MAX_MD_SIZE] = {};
  EVP_Digest(text.data(), text.size(), digest, nullptr, EVP_sha256(), nullptr);
  uint64_t hash = 0;
  for (int i = 0; i < 8; ++i) hash = hash << 8 | digest[i];
  return hash;
}

const Arm& ChooseArm(const Experiment& experiment, std::string_view unit_id) {
  uint64_t total = 0;
  for (const Arm& arm : experiment.arms) total += arm.weight;
  __extension__ using Wide = unsigned __int128;
  const uint64_t point =
      static_cast<uint64_t>(static_cast<Wide>(AssignmentHash(experiment.salt, unit_id)) * total >> 64);
  uint64_t end = 0;
  for (const Arm& arm : experiment.arms) {
    end += arm.weight;
    if (point < end) return arm;
  }
  return experiment.arms.back();
}

std::string_view AssignmentReasonName(AssignmentReason reason) {
  switch (reason) {
    case AssignmentReason::kNone: return "none";
    case AssignmentReason::kAssigned: return "assigned";
    case AssignmentReason::kForced: return "forced";
    case AssignmentReason::kFallback: return "fallback";
  }
  return "none";
}

AssignmentResult AssignArm(const ExperimentConfig& config, std::string_view unit_id, std::string_view model,
                           std::string_view requested_backend) {
  AssignmentResult result;
  for (const Experiment& experiment : config.experiments) {
    if (!experiment.model.empty() && experiment.model != model) continue;
    result.experiment = &experiment;
    break;
  }
  if (!requested_backend.empty()) {
    result.reason = AssignmentReason::kForced;
  } else if (result.experiment != nullptr) {
    result.reason = AssignmentReason::kAssigned;
    result.arm = &ChooseArm(*result.experiment, unit_id);
  }
  return result;
}

ExperimentStore::ExperimentStore(ExperimentConfig config)
    : snapshot_(std::make_shared<const ExperimentConfig>(std::move(config))) {}

std::shared_ptr<const ExperimentConfig> ExperimentStore::snapshot() const {
  absl::MutexLock lock(&mutex_);
  return snapshot_;
}

absl::Status ExperimentStore::Publish(ExperimentConfig config) {
  if (absl::Status s = ValidateExperiments(config); !s.ok()) return s;
  absl::MutexLock lock(&mutex_);
  config.generation = snapshot_->generation + 1;
  snapshot_ = std::make_shared<const ExperimentConfig>(std::move(config));
  return absl::OkStatus();
}

}  // namespace precis::server
