// Experiments as YAML text.
#include <yaml-cpp/yaml.h>

#include "server/experiments/experiment_yaml.h"
#include "server/text.h"

namespace precis::server {
namespace {

std::string TimeText(absl::Time time) { return absl::FormatTime(absl::RFC3339_full, time, absl::UTCTimeZone()); }

template <typename T>
void Put(YAML::Emitter& out, const char* key, const T& value) {
  out << YAML::Key << key << YAML::Value << value;
}

void PutText(YAML::Emitter& out, const char* key, const std::string& value) {
  out << YAML::Key << key << YAML::Value << YAML::DoubleQuoted << value;
}

void PutArm(YAML::Emitter& out, const Arm& arm) {
  out << YAML::Flow << YAML::BeginMap;
  PutText(out, "name", arm.name);
  Put(out, "weight", arm.weight);
  PutText(out, "attention_backend", arm.attention_backend);
  if (!arm.model.empty()) PutText(out, "model", arm.model);
  if (!arm.options.empty()) Put(out, "options", arm.options);
  out << YAML::EndMap;
}

void PutWho(YAML::Emitter& out, const Experiment& e) {
  const Experiment standard;
  if (e.unit != standard.unit) PutText(out, "unit", e.unit);
  if (!e.eligible.empty()) {
    out << YAML::Key << "eligible" << YAML::Value << YAML::BeginMap;
    for (const auto& [key, values] : e.eligible) {
      out << YAML::Key << key << YAML::Value << YAML::Flow << YAML::BeginSeq;
      for (const std::string& value : values) out << YAML::DoubleQuoted << value;
      out << YAML::EndSeq;
    }
    out << YAML::EndMap;
  }
  if (!e.layer.empty()) {
    out << YAML::Key << "layer" << YAML::Value << YAML::Flow << YAML::BeginMap;
    PutText(out, "name", e.layer);
    out << YAML::Key << "slots" << YAML::Value << YAML::Flow << YAML::BeginSeq << e.slot_low << e.slot_high << YAML::EndSeq << YAML::EndMap;
  }
  if (e.start != standard.start) PutText(out, "start", TimeText(e.start));
  if (e.end != standard.end) PutText(out, "end", TimeText(e.end));
  if (e.ramp.empty()) return;
  out << YAML::Key << "ramp" << YAML::Value << YAML::BeginSeq;
  for (const RampStep& step : e.ramp) {
    out << YAML::Flow << YAML::BeginMap;
    if (step.from != absl::InfinitePast()) PutText(out, "from", TimeText(step.from));
    Put(out, "share", step.share_ppm / 1e6);
    out << YAML::EndMap;
  }
  out << YAML::EndSeq;
}

void PutHow(YAML::Emitter& out, const Experiment& e) {
  if (e.batching != Batching::kMixed) Put(out, "batching", std::string(BatchingName(e.batching)));
  if (e.batching == Batching::kSwitchback) {
    Put(out, "slice", absl::FormatDuration(e.slice));
    Put(out, "washout", absl::FormatDuration(e.washout));
  }
  out << YAML::Key << "guardrails" << YAML::Value << YAML::Flow << YAML::BeginMap;
  Put(out, "error_rate_increase", e.guardrails.error_rate_increase);
  Put(out, "p99_ratio", e.guardrails.p99_ratio);
  Put(out, "p99_seconds", e.guardrails.p99_seconds);
  Put(out, "sample_ratio", e.guardrails.sample_ratio);
  out << YAML::EndMap;
  if (e.shadow_ppm > 0) {
    out << YAML::Key << "shadow" << YAML::Value << YAML::Flow << YAML::BeginMap;
    Put(out, "sampling", e.shadow_ppm / 1e6);
    if (!e.shadow_arms.empty()) Put(out, "arms", e.shadow_arms);
    out << YAML::EndMap;
  }
  const Analysis& a = e.analysis;
  out << YAML::Key << "analysis" << YAML::Value << YAML::Flow << YAML::BeginMap;
  Put(out, "alpha", a.alpha);
  Put(out, "mde", a.mde);
  Put(out, "mde_absolute", a.mde_absolute);
  Put(out, "min_units", a.min_units);
  Put(out, "planned_units", a.planned_units);
  Put(out, "primary", a.primary);
  out << YAML::EndMap;
}

}  // namespace

std::string FormatExperiments(const ExperimentConfig& config) {
  if (config.experiments.empty()) return "";
  YAML::Emitter out;
  out << YAML::BeginMap << YAML::Key << "experiments" << YAML::Value << YAML::BeginSeq;
  for (const Experiment& e : config.experiments) {
    out << YAML::BeginMap;
    PutText(out, "name", e.name);
    PutText(out, "salt", e.salt);
    if (!e.model.empty()) PutText(out, "model", e.model);
    if (!e.control.empty()) PutText(out, "control", e.control);
    if (e.aa) Put(out, "aa", true);
    PutWho(out, e);
    PutHow(out, e);
    out << YAML::Key << "arms" << YAML::Value << YAML::BeginSeq;
    for (const Arm& arm : e.arms) PutArm(out, arm);
    out << YAML::EndSeq << YAML::EndMap;
  }
  out << YAML::EndSeq << YAML::EndMap;
  return StrCat(out.c_str(), "\n");
}

}  // namespace precis::server
