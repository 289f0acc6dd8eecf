#include "server/experiments/stats/quantile_sketch.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace precis::stats {
namespace {

const double kLogGamma = std::log((1 + QuantileSketch::kRelativeError) / (1 - QuantileSketch::kRelativeError));

int LastBin() {
  static const int bin = static_cast<int>(std::ceil(std::log(QuantileSketch::kLargest) / kLogGamma));
  return bin;
}
int FirstBin() {
  static const int bin = static_cast<int>(std::ceil(std::log(QuantileSketch::kSmallest) / kLogGamma));
  return bin;
}

}  // namespace

int QuantileSketch::BinOf(double value) {
  if (!(value > kSmallest)) return FirstBin();
  if (value >= kLargest) return LastBin();
  return static_cast<int>(std::ceil(std::log(value) / kLogGamma));
}

double QuantileSketch::UpperBound(int bin) { return std::exp(bin * kLogGamma); }
double QuantileSketch::Middle(int bin) { return UpperBound(bin) * (1 - kRelativeError); }

void QuantileSketch::AddToBin(int bin, uint32_t count) {
  if (count == 0) return;
  bin = std::clamp(bin, FirstBin(), LastBin());
  if (counts_.empty()) {
    first_ = bin;
    counts_.push_back(0);
  } else if (bin < first_) {
    counts_.insert(counts_.begin(), static_cast<size_t>(first_ - bin), 0);
    first_ = bin;
  } else if (bin >= first_ + static_cast<int>(counts_.size())) {
    counts_.resize(static_cast<size_t>(bin - first_) + 1, 0);
  }
  uint32_t& cell = counts_[static_cast<size_t>(bin - first_)];
  const uint32_t added = std::min(count, std::numeric_limits<uint32_t>::max() - cell);
  cell += added;
  count_ += added;
}

void QuantileSketch::Merge(const QuantileSketch& other) {
  for (size_t i = 0; i < other.counts_.size(); ++i) AddToBin(other.first_ + static_cast<int>(i), other.counts_[i]);
}

double QuantileSketch::Quantile(double p) const {
  if (count_ == 0) return 0;
  const double rank = std::clamp(p, 0.0, 1.0) * static_cast<double>(count_);
  double before = 0;
  for (size_t i = 0; i < counts_.size(); ++i) {
    const double here = counts_[i];
    if (here > 0 && before + here >= rank) {
      const double within = std::clamp((rank - before) / here, 0.0, 1.0);
      return std::exp((first_ + static_cast<double>(i) - 1 + within) * kLogGamma);
    }
    before += here;
  }
  return UpperBound(first_ + static_cast<int>(counts_.size()) - 1);
}

int64_t QuantileSketch::CountUpTo(int bin) const {
  int64_t total = 0;
  for (size_t i = 0; i < counts_.size() && first_ + static_cast<int>(i) <= bin; ++i) total += counts_[i];
  return total;
}

void QuantileSketch::AppendTo(Writer* out) const {
  out->Varint(static_cast<uint64_t>(first_ - FirstBin()));
  out->Varint(counts_.size());
  for (const uint32_t count : counts_) out->Varint(count);
}

QuantileSketch QuantileSketch::Read(Reader* in) {
  const auto span = static_cast<uint64_t>(LastBin() - FirstBin());
  const auto first = static_cast<int>(in->Bounded(span)) + FirstBin();
  const uint64_t size = in->Bounded(span + 1);
  QuantileSketch out;
  for (uint64_t i = 0; i < size && in->ok(); ++i) {
    out.AddToBin(first + static_cast<int>(i), static_cast<uint32_t>(in->Bounded(std::numeric_limits<uint32_t>::max())));
  }
  return out;
}

}  // namespace precis::stats
