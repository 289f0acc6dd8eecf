#include "server/experiments/stats/rank_tests.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "server/experiments/stats/distributions.h"

namespace precis::stats {
namespace {

constexpr int kHalf = static_cast<int>(SignedDifferences::kLimit / SignedDifferences::kWidth + 0.5);

double CountAt(const QuantileSketch& sketch, int bin) {
  const int i = bin - sketch.first_bin();
  return i < 0 || i >= static_cast<int>(sketch.counts().size()) ? 0 : sketch.counts()[static_cast<size_t>(i)];
}

int EndBin(const QuantileSketch& sketch) { return sketch.first_bin() + static_cast<int>(sketch.counts().size()); }

}  // namespace

RankTest MannWhitney(const QuantileSketch& x, const QuantileSketch& y) {
  RankTest out;
  const auto m = static_cast<double>(x.count()), n = static_cast<double>(y.count()), all = m + n;
  if (m == 0 || n == 0) return out;
  double below = 0, ties = 0;
  for (int bin = std::min(x.first_bin(), y.first_bin()); bin < std::max(EndBin(x), EndBin(y)); ++bin) {
    const double in_x = CountAt(x, bin), in_y = CountAt(y, bin), both = in_x + in_y;
    out.statistic += in_x * (below + 0.5 * in_y);
    below += in_y;
    ties += both * both * both - both;
  }
  const double variance = m * n / 12 * (all + 1 - ties / (all * (all - 1)));
  if (!(variance > 0)) return out;
  out.z = (out.statistic - m * n / 2) / std::sqrt(variance);
  out.p_value = TwoSidedNormalP(out.z);
  return out;
}

SignedDifferences::SignedDifferences() : bins_(2 * kHalf + 1, 0) {}

void SignedDifferences::Add(double difference) {
  if (!std::isfinite(difference)) return;
  const double bin = std::clamp(std::round(difference / kWidth), -1.0 * kHalf, 1.0 * kHalf);
  ++bins_[static_cast<size_t>(static_cast<int>(bin) + kHalf)];
  ++count_;
}

void SignedDifferences::Merge(const SignedDifferences& other) {
  for (size_t i = 0; i < bins_.size(); ++i) bins_[i] += other.bins_[i];
  count_ += other.count_;
}

double SignedDifferences::Median() const {
  int64_t before = 0;
  for (size_t i = 0; i < bins_.size(); ++i) {
    before += bins_[i];
    if (2 * before >= count_ && count_ > 0) return (static_cast<int>(i) - kHalf) * kWidth;
  }
  return 0;
}

RankTest SignedDifferences::Wilcoxon() const {
  RankTest out;
  double below = 0, plus = 0, minus = 0, ties = 0;
  for (int i = 1; i <= kHalf; ++i) {
    const double up = bins_[static_cast<size_t>(kHalf + i)], down = bins_[static_cast<size_t>(kHalf - i)], both = up + down;
    const double rank = below + (both + 1) / 2;
    plus += up * rank;
    minus += down * rank;
    ties += both * both * both - both;
    below += both;
  }
  out.statistic = std::min(plus, minus);
  const double n = below, variance = (n * (n + 1) * (2 * n + 1) - ties / 2) / 24;
  if (!(variance > 0)) return out;
  out.z = (plus - n * (n + 1) / 4) / std::sqrt(variance);
  out.p_value = TwoSidedNormalP(out.z);
  return out;
}

void SignedDifferences::AppendTo(Writer* out) const {
  uint64_t filled = 0, last = 0;
  for (const uint32_t bin : bins_) filled += bin > 0 ? 1 : 0;
  out->Varint(filled);
  for (size_t i = 0; i < bins_.size(); ++i) {
    if (bins_[i] == 0) continue;
    out->Varint(i - last);
    out->Varint(bins_[i]);
    last = i;
  }
}

SignedDifferences SignedDifferences::Read(Reader* in) {
  SignedDifferences out;
  const uint64_t filled = in->Bounded(out.bins_.size());
  uint64_t at = 0;
  for (uint64_t i = 0; i < filled && in->ok(); ++i) {
    at += in->Bounded(out.bins_.size() - 1 - at);
    const auto count = static_cast<uint32_t>(in->Bounded(std::numeric_limits<uint32_t>::max()));
    out.bins_[at] = count;
    out.count_ += count;
  }
  return out;
}

}  // namespace precis::stats
