#include "server/experiments/experiment.h"

#include <utility>

#include "absl/strings/str_format.h"
#include "server/experiments/assignment.h"
#include "server/text.h"

namespace precis::server {

std::string_view BatchingName(Batching batching) {
  switch (batching) {
    case Batching::kMixed: return "mixed";
    case Batching::kHomogeneous: return "homogeneous";
    case Batching::kSwitchback: return "switchback";
  }
  return "mixed";
}

const Arm& Experiment::control_arm() const {
  const int index = ArmIndex(control);
  return arms[static_cast<size_t>(index < 0 ? 0 : index)];
}

int Experiment::ArmIndex(std::string_view arm) const {
  for (size_t i = 0; i < arms.size(); ++i) {
    if (arms[i].name == arm) return static_cast<int>(i);
  }
  return -1;
}

std::string Experiment::Fingerprint() const {
  std::string text;
  // Every part ends with a byte that no part holds.
  const auto add = [&text](std::string_view part) {
    text.append(part);
    text.push_back('\0');
  };
  for (std::string_view part : {std::string_view(name), std::string_view(salt), std::string_view(model), std::string_view(layer),
                                std::string_view(unit), std::string_view(control), BatchingName(batching)}) {
    add(part);
  }
  add(StrCat(slot_low, "-", slot_high));
  if (batching == Batching::kSwitchback) add(StrCat(absl::ToInt64Milliseconds(slice), "/", absl::ToInt64Milliseconds(washout)));
  for (const auto& [key, values] : eligible) {
    add(key);
    for (const std::string& value : values) add(value);
    add("");
  }
  for (const Arm& arm : arms) {
    add(arm.name);
    add(StrCat(arm.weight));
    add(arm.attention_backend);
    add(arm.model);
    for (const auto& [key, value] : arm.options) add(StrCat(key, "=", value));
    add("");
  }
  return absl::StrFormat("%016x", AssignmentHash("fingerprint", text));
}

const Experiment* ExperimentConfig::Find(std::string_view name) const {
  for (const Experiment& experiment : experiments) {
    if (experiment.name == name) return &experiment;
  }
  return nullptr;
}

ExperimentStore::ExperimentStore(ExperimentConfig config)
    : snapshot_(std::make_shared<const ExperimentConfig>(std::move(config))) {}

std::shared_ptr<const ExperimentConfig> ExperimentStore::snapshot() const {
  absl::MutexLock lock(&mutex_);
  return snapshot_;
}

void ExperimentStore::Start(ExperimentConfig config) {
  absl::MutexLock lock(&mutex_);
  snapshot_ = std::make_shared<const ExperimentConfig>(std::move(config));
}

absl::Status ExperimentStore::Publish(ExperimentConfig config) {
  if (absl::Status s = ValidateExperiments(config); !s.ok()) return s;
  absl::MutexLock lock(&mutex_);
  config.generation = snapshot_->generation + 1;
  snapshot_ = std::make_shared<const ExperimentConfig>(std::move(config));
  return absl::OkStatus();
}

}  // namespace precis::server
