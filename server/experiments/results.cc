#include "server/experiments/results.h"

#include <algorithm>

#include "absl/status/status.h"

namespace precis::server {
namespace {

constexpr uint64_t kVersion = 2;
constexpr uint64_t kMostArms = 64;
constexpr uint64_t kMostCount = uint64_t{1} << 52;

void Append(const ShadowResults& shadow, stats::Writer* out) {
  for (const int64_t count : {shadow.pairs, shadow.identical, shadow.diverged, shadow.dropped}) out->Varint(static_cast<uint64_t>(count));
  for (const double sum : {shadow.token_agreement, shadow.rouge_l, shadow.first_divergence}) out->Double(sum);
  shadow.total.AppendTo(out);
  shadow.first_token.AppendTo(out);
}

ShadowResults ReadShadow(stats::Reader* in) {
  ShadowResults shadow;
  for (int64_t* count : {&shadow.pairs, &shadow.identical, &shadow.diverged, &shadow.dropped}) *count = static_cast<int64_t>(in->Bounded(kMostCount));
  for (double* sum : {&shadow.token_agreement, &shadow.rouge_l, &shadow.first_divergence}) *sum = in->Double();
  shadow.total = stats::SignedDifferences::Read(in);
  shadow.first_token = stats::SignedDifferences::Read(in);
  return shadow;
}

void Append(const ArmResults& arm, stats::Writer* out) {
  for (int i = 0; i < kOutcomes; ++i) {
    arm.moments[i].AppendTo(out);
    if (Info(static_cast<OutcomeId>(i)).quantiles) arm.quantiles[i].AppendTo(out);
  }
  Append(arm.shadow, out);
}

ArmResults ReadArm(stats::Reader* in) {
  ArmResults arm;
  for (int i = 0; i < kOutcomes; ++i) {
    arm.moments[i] = stats::GroupedMoments::Read(in);
    if (Info(static_cast<OutcomeId>(i)).quantiles) arm.quantiles[i] = stats::GroupedQuantiles::Read(in);
  }
  arm.shadow = ReadShadow(in);
  return arm;
}

}  // namespace

void ShadowResults::Add(const ShadowPair& pair) {
  ++pairs;
  identical += pair.identical ? 1 : 0;
  token_agreement += pair.token_agreement;
  rouge_l += pair.rouge_l;
  if (pair.first_divergence >= 0) {
    ++diverged;
    first_divergence += pair.first_divergence;
  }
  total.Add(pair.log_total_ratio);
  first_token.Add(pair.log_first_token_ratio);
}

void ShadowResults::Merge(const ShadowResults& other) {
  pairs += other.pairs;
  identical += other.identical;
  diverged += other.diverged;
  dropped += other.dropped;
  token_agreement += other.token_agreement;
  rouge_l += other.rouge_l;
  first_divergence += other.first_divergence;
  total.Merge(other.total);
  first_token.Merge(other.first_token);
}

void ArmResults::Add(const Observation& observation) {
  for (const auto& [id, value] : observation.values) {
    const auto i = static_cast<size_t>(id);
    moments[i].Add(observation.group, value, observation.prompt_tokens);
    if (Info(id).quantiles) quantiles[i].Add(observation.group, value);
  }
}

void ArmResults::Merge(const ArmResults& other) {
  for (int i = 0; i < kOutcomes; ++i) {
    moments[i].Merge(other.moments[i]);
    quantiles[i].Merge(other.quantiles[i]);
  }
  shadow.Merge(other.shadow);
}

ExperimentResults::ExperimentResults(const std::vector<double>& shares) : arms(shares.size()), census(shares) {}

void ExperimentResults::AddRequest(int arm, uint64_t unit_hash, const Observation& observation, int64_t unix_seconds) {
  if (since_unix_seconds == 0) since_unix_seconds = unix_seconds;
  census.Add(unit_hash, arm);
  arms[static_cast<size_t>(arm)].Add(observation);
}

void ExperimentResults::AddOutcome(int arm, const Observation& observation) { arms[static_cast<size_t>(arm)].Add(observation); }

void ExperimentResults::Merge(const ExperimentResults& other) {
  if (other.arms.size() != arms.size()) return;
  if (other.since_unix_seconds != 0) {
    since_unix_seconds = since_unix_seconds == 0 ? other.since_unix_seconds : std::min(since_unix_seconds, other.since_unix_seconds);
  }
  for (size_t i = 0; i < arms.size(); ++i) arms[i].Merge(other.arms[i]);
  census.Merge(other.census);
}

std::string ExperimentResults::Serialize() const {
  stats::Writer out;
  out.Varint(kVersion);
  out.Varint(static_cast<uint64_t>(since_unix_seconds));
  out.Varint(arms.size());
  for (const ArmResults& arm : arms) Append(arm, &out);
  census.AppendTo(&out);
  return out.Take();
}

absl::StatusOr<ExperimentResults> ExperimentResults::Parse(std::string_view bytes) {
  stats::Reader in(bytes);
  ExperimentResults out;
  const bool known = in.Varint() == kVersion;
  if (known) {
    out.since_unix_seconds = static_cast<int64_t>(in.Bounded(kMostCount));
    const uint64_t arms = in.Bounded(kMostArms);
    for (uint64_t i = 0; i < arms && in.ok(); ++i) out.arms.push_back(ReadArm(&in));
    out.census = stats::UnitCensus::Read(&in);
  }
  if (!known || !in.done() || out.census.sampled().size() != out.arms.size()) {
    return absl::InvalidArgumentError("the bytes are no results of an experiment that this version reads");
  }
  return out;
}

}  // namespace precis::server
