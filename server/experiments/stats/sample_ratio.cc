#include "server/experiments/stats/sample_ratio.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

namespace precis::stats {
namespace {

constexpr uint64_t kMaxArms = 64;

}  // namespace

double SampleRatioLogBayesFactor(const std::vector<int64_t>& counts, const std::vector<double>& shares) {
  double total = 0, log_factor = 0;
  for (size_t i = 0; i < counts.size(); ++i) {
    if (shares[i] <= 0) {
      if (counts[i] > 0) return HUGE_VAL;
      continue;
    }
    const double prior = kSampleRatioConcentration * shares[i], n = static_cast<double>(counts[i]);
    total += n;
    log_factor += std::lgamma(prior + n) - std::lgamma(prior) - n * std::log(shares[i]);
  }
  return log_factor + std::lgamma(kSampleRatioConcentration) - std::lgamma(kSampleRatioConcentration + total);
}

UnitCensus::UnitCensus(std::vector<double> shares)
    : shares_(std::move(shares)), sampled_(shares_.size(), 0), tested_(shares_.size(), 0) {}

void UnitCensus::Add(uint64_t hash, int arm) {
  if (arm < 0 || arm >= static_cast<int>(shares_.size()) || !InSample(hash) || units_.count(hash) != 0) return;
  const double expected = shares_[static_cast<size_t>(arm)];
  const auto seen = static_cast<double>(std::accumulate(tested_.begin(), tested_.end(), int64_t{0}));
  if (expected > 0) {
    const double predicted =
        (kSampleRatioConcentration * expected + static_cast<double>(tested_[static_cast<size_t>(arm)])) / (kSampleRatioConcentration + seen);
    log_evidence_ += std::log(predicted / expected);
    max_log_evidence_ = std::max(max_log_evidence_, log_evidence_);
  }
  ++tested_[static_cast<size_t>(arm)];
  Keep(hash, arm);
}

void UnitCensus::Keep(uint64_t hash, int arm) {
  if (!units_.emplace(hash, static_cast<uint8_t>(arm)).second) return;
  ++sampled_[static_cast<size_t>(arm)];
  while (units_.size() > kCapacity) {
    ++level_;
    Thin();
  }
}

void UnitCensus::Thin() {
  if (level_ == 0) return;
  const auto end = units_.lower_bound(uint64_t{1} << (64 - level_));
  for (auto it = end; it != units_.end(); ++it) --sampled_[it->second];
  units_.erase(end, units_.end());
}

void UnitCensus::Merge(const UnitCensus& other) {
  if (other.shares_.size() != shares_.size()) return;
  level_ = std::max(level_, other.level_);
  Thin();
  for (const auto& [hash, arm] : other.units_) {
    if (InSample(hash)) Keep(hash, arm);
  }
  tested_ = sampled_;
  log_evidence_ = SampleRatioLogBayesFactor(sampled_, shares_);
  max_log_evidence_ = std::max({max_log_evidence_, other.max_log_evidence_, log_evidence_});
}

int64_t UnitCensus::Units(int arm) const { return sampled_[static_cast<size_t>(arm)] << level_; }

double UnitCensus::p_value() const { return std::min(1.0, std::exp(-max_log_evidence_)); }

void UnitCensus::AppendTo(Writer* out) const {
  out->Varint(shares_.size());
  for (size_t i = 0; i < shares_.size(); ++i) {
    out->Double(shares_[i]);
    out->Varint(static_cast<uint64_t>(tested_[i]));
  }
  out->Varint(static_cast<uint64_t>(level_));
  out->Double(log_evidence_);
  out->Double(max_log_evidence_);
  out->Varint(units_.size());
  for (const auto& [hash, arm] : units_) {
    out->Varint(hash);
    out->Varint(arm);
  }
}

UnitCensus UnitCensus::Read(Reader* in) {
  const uint64_t arms = in->Bounded(kMaxArms);
  std::vector<double> shares;
  std::vector<int64_t> tested;
  for (uint64_t i = 0; i < arms; ++i) {
    shares.push_back(in->Double());
    tested.push_back(static_cast<int64_t>(in->Bounded(uint64_t{1} << 52)));
  }
  UnitCensus out(std::move(shares));
  out.tested_ = std::move(tested);
  out.level_ = static_cast<int>(in->Bounded(63));
  out.log_evidence_ = in->Double();
  out.max_log_evidence_ = in->Double();
  const uint64_t units = in->Bounded(kCapacity);
  for (uint64_t i = 0; i < units && in->ok() && arms > 0; ++i) {
    const uint64_t hash = in->Varint();
    out.Keep(hash, static_cast<int>(in->Bounded(arms - 1)));
  }
  return out;
}

}  // namespace precis::stats
