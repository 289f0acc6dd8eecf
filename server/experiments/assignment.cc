#include "server/experiments/assignment.h"

#include <openssl/evp.h>

#include <algorithm>

#include "server/text.h"

namespace precis::server {
namespace {

// floor(hash * parts / 2^64)
uint64_t Scale(uint64_t hash, uint64_t parts) {
  __extension__ using Wide = unsigned __int128;
  return static_cast<uint64_t>(static_cast<Wide>(hash) * parts >> 64);
}

std::string Salted(std::string_view purpose, std::string_view salt) {
  std::string out(purpose);
  out.push_back('\0');
  out.append(salt);
  return out;
}

bool IsEligible(const Experiment& experiment, const AssignmentFacts& facts) {
  for (const auto& [key, values] : experiment.eligible) {
    const std::string value = facts.metadata == nullptr ? "" : facts.metadata(key);
    if (std::find(values.begin(), values.end(), value) == values.end()) return false;
  }
  return true;
}

std::string UnitOf(const Experiment& experiment, const AssignmentFacts& facts) {
  if (experiment.unit == "request") return std::string(facts.request_id);
  if (StartsWith(experiment.unit, "metadata:")) {
    return facts.metadata == nullptr ? "" : facts.metadata(experiment.unit.substr(9));
  }
  return std::string(facts.unit_id);
}

// The slice of a switchback, and whether its washout is over.
struct Slice {
  int64_t index;
  bool settled;
};

Slice SliceAt(const Experiment& experiment, absl::Time now) {
  const int64_t length = absl::ToInt64Milliseconds(experiment.slice), at = absl::ToUnixMillis(now);
  return {at / length, at % length >= absl::ToInt64Milliseconds(experiment.washout)};
}

bool Takes(const Experiment& experiment, const AssignmentFacts& facts, std::string_view unit) {
  if (unit.empty()) return false;
  if (!experiment.layer.empty()) {
    const int slot = LayerSlot(experiment.layer, unit);
    if (slot < experiment.slot_low || slot > experiment.slot_high) return false;
  }
  return InRamp(experiment.salt, unit, ShareAt(experiment, facts.now));
}

}  // namespace

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
  const uint64_t point = Scale(AssignmentHash(experiment.salt, unit_id), total);
  uint64_t end = 0;
  for (const Arm& arm : experiment.arms) {
    end += arm.weight;
    if (point < end) return arm;
  }
  return experiment.arms.back();
}

bool InRamp(std::string_view salt, std::string_view unit_id, uint32_t share_ppm) {
  if (share_ppm >= 1'000'000) return true;
  return share_ppm > 0 && Scale(AssignmentHash(Salted("ramp", salt), unit_id), 1'000'000) < share_ppm;
}

int LayerSlot(std::string_view layer, std::string_view unit_id) {
  return static_cast<int>(Scale(AssignmentHash(Salted("layer", layer), unit_id), kSlots));
}

uint32_t ShareAt(const Experiment& experiment, absl::Time now) {
  if (now < experiment.start || now >= experiment.end) return 0;
  if (experiment.ramp.empty()) return 1'000'000;
  uint32_t share = 0;
  for (const RampStep& step : experiment.ramp) {
    if (now >= step.from) share = step.share_ppm;
  }
  return share;
}

std::string_view AssignmentReasonName(AssignmentReason reason) {
  switch (reason) {
    case AssignmentReason::kNone: return "none";
    case AssignmentReason::kAssigned: return "assigned";
    case AssignmentReason::kForced: return "forced";
    case AssignmentReason::kFallback: return "fallback";
    case AssignmentReason::kStopped: return "stopped";
    case AssignmentReason::kWashout: return "washout";
  }
  return "none";
}

AssignmentResult AssignArm(const ExperimentConfig& config, const AssignmentFacts& facts) {
  AssignmentResult result;
  for (const Experiment& experiment : config.experiments) {
    if (!experiment.model.empty() && experiment.model != facts.model) continue;
    if (!IsEligible(experiment, facts)) continue;
    std::string unit = UnitOf(experiment, facts);
    if (!Takes(experiment, facts, unit)) continue;
    result.experiment = &experiment;
    result.unit = std::move(unit);
    break;
  }
  if (!facts.requested_backend.empty()) {
    result.reason = AssignmentReason::kForced;
    return result;
  }
  if (result.experiment == nullptr) return result;
  result.reason = AssignmentReason::kAssigned;
  if (result.experiment->batching == Batching::kSwitchback) {
    const Slice slice = SliceAt(*result.experiment, facts.now);
    result.unit = StrCat("slice-", slice.index);
    if (!slice.settled) result.reason = AssignmentReason::kWashout;
  }
  result.arm = &ChooseArm(*result.experiment, result.unit);
  return result;
}

uint64_t BatchGroup(const Experiment& experiment, const Arm& arm) {
  if (experiment.batching != Batching::kHomogeneous) return 0;
  return std::max<uint64_t>(1, AssignmentHash(Salted("batch", experiment.name), arm.name));
}

uint64_t StatisticsHash(const Experiment& experiment, std::string_view unit) {
  return AssignmentHash(Salted("statistics", experiment.salt), unit);
}

}  // namespace precis::server
