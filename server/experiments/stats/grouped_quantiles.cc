#include "server/experiments/stats/grouped_quantiles.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace precis::stats {
namespace {

constexpr double kMinTail = 20;
constexpr int kMinGroups = 4;

// The standard error of a share over groups: parts[g] of counts[g].
Estimate ShareOf(const std::vector<double>& parts, const std::vector<double>& counts) {
  double part = 0, n = 0, n2 = 0, filled = 0;
  for (size_t g = 0; g < counts.size(); ++g) {
    part += parts[g];
    n += counts[g];
    n2 += counts[g] * counts[g];
    filled += counts[g] > 0 ? 1 : 0;
  }
  Estimate out;
  out.count = n;
  if (n == 0) return out;
  out.value = part / n;
  if (filled < kMinGroups) return out;
  double squares = 0;
  for (size_t g = 0; g < counts.size(); ++g) {
    const double d = parts[g] - out.value * counts[g];
    squares += d * d;
  }
  out.se = std::sqrt(filled / (filled - 1) * squares) / n;
  out.degrees = std::max(1.0, std::min(filled, n * n / n2) - 1);
  return out;
}

// For each bin of `of`'s range, the share of `of` below it plus half of that in it.
class MidDistribution {
 public:
  explicit MidDistribution(const QuantileSketch& of) : first_(of.first_bin()) {
    double before = 0;
    for (const uint32_t count : of.counts()) {
      shares_.push_back((before + 0.5 * count) / static_cast<double>(of.count()));
      before += count;
    }
  }
  double At(int bin) const {
    if (bin < first_) return 0;
    const auto i = static_cast<size_t>(bin - first_);
    return i < shares_.size() ? shares_[i] : 1;
  }

 private:
  int first_;
  std::vector<double> shares_;
};

// The mean placement of arm's observations among the other's.
Estimate Placement(const GroupedQuantiles& arm, const MidDistribution& other) {
  std::vector<double> parts, counts;
  for (const QuantileSketch& sketch : arm.sketches()) {
    double part = 0;
    for (size_t i = 0; i < sketch.counts().size(); ++i) {
      if (sketch.counts()[i] > 0) part += sketch.counts()[i] * other.At(sketch.first_bin() + static_cast<int>(i));
    }
    parts.push_back(part);
    counts.push_back(static_cast<double>(sketch.count()));
  }
  return ShareOf(parts, counts);
}

}  // namespace

void GroupedQuantiles::Merge(const GroupedQuantiles& other) {
  for (int i = 0; i < kSketches; ++i) sketches_[i].Merge(other.sketches_[i]);
}

int64_t GroupedQuantiles::count() const {
  int64_t n = 0;
  for (const QuantileSketch& sketch : sketches_) n += sketch.count();
  return n;
}

QuantileSketch GroupedQuantiles::Total() const {
  QuantileSketch total;
  for (const QuantileSketch& sketch : sketches_) total.Merge(sketch);
  return total;
}

void GroupedQuantiles::AppendTo(Writer* out) const {
  for (const QuantileSketch& sketch : sketches_) sketch.AppendTo(out);
}

GroupedQuantiles GroupedQuantiles::Read(Reader* in) {
  GroupedQuantiles out;
  for (QuantileSketch& sketch : out.sketches_) sketch = QuantileSketch::Read(in);
  return out;
}

Estimate LogQuantile(const GroupedQuantiles& arm, double p) {
  const QuantileSketch total = arm.Total();
  Estimate out;
  out.count = static_cast<double>(total.count());
  if (total.count() == 0) return out;
  const double value = total.Quantile(p);
  out.value = std::log(value);
  if (out.count * std::min(p, 1 - p) < kMinTail) return out;
  const int bin = QuantileSketch::BinOf(value);
  std::vector<double> parts, counts;
  for (const QuantileSketch& sketch : arm.sketches()) {
    parts.push_back(static_cast<double>(sketch.CountUpTo(bin)));
    counts.push_back(static_cast<double>(sketch.count()));
  }
  const Estimate share = ShareOf(parts, counts);
  if (!(share.se > 0)) return out;
  // Two errors to each side: the slope of the distribution over the range that an interval covers.
  const double low = std::max(p - 2 * share.se, 0.5 / out.count), high = std::min(p + 2 * share.se, 1 - 0.5 / out.count);
  out.se = (std::log(total.Quantile(high)) - std::log(total.Quantile(low))) * share.se / (high - low);
  out.degrees = share.degrees;
  return out;
}

Difference LogQuantileRatio(const GroupedQuantiles& treatment, const GroupedQuantiles& control, double p) {
  const Estimate t = LogQuantile(treatment, p), c = LogQuantile(control, p);
  Difference out = Subtract(t, c);
  if (!(t.se > 0) || !(c.se > 0)) out.se = 0;
  return out;
}

Difference MannWhitneyClustered(const GroupedQuantiles& treatment, const GroupedQuantiles& control) {
  const QuantileSketch all_treatment = treatment.Total(), all_control = control.Total();
  if (all_treatment.count() == 0 || all_control.count() == 0) return {};
  Estimate of_treatment = Placement(treatment, MidDistribution(all_control));
  const Estimate of_control = Placement(control, MidDistribution(all_treatment));
  Estimate half = of_control;
  half.value = 0.5;
  return Subtract(of_treatment, half);
}

}  // namespace precis::stats
