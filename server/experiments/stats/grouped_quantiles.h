#ifndef PRECIS_SERVER_EXPERIMENTS_STATS_GROUPED_QUANTILES_H_
#define PRECIS_SERVER_EXPERIMENTS_STATS_GROUPED_QUANTILES_H_

#include <array>

#include "server/experiments/stats/grouped_moments.h"
#include "server/experiments/stats/intervals.h"
#include "server/experiments/stats/quantile_sketch.h"

namespace precis::stats {

// Sketches by group of units (fewer, larger groups than the moments have), for quantiles with cluster-robust errors. Mergeable. Not thread-safe.
class GroupedQuantiles {
 public:
  static constexpr int kSketches = 64;

  // group: as in GroupedMoments; it is folded.
  void Add(int group, double value) { sketches_[static_cast<size_t>(group) % kSketches].Add(value); }
  void Merge(const GroupedQuantiles& other);
  int64_t count() const;
  QuantileSketch Total() const;
  const std::array<QuantileSketch, kSketches>& sketches() const { return sketches_; }

  void AppendTo(Writer* out) const;
  static GroupedQuantiles Read(Reader* in);

 private:
  std::array<QuantileSketch, kSketches> sketches_;
};

// The logarithm of quantile p with a cluster-robust error (Woodruff 1952): the share of observations below the quantile is a ratio mean whose
// error is turned into one of the value by the empirical distribution. se = 0 if there are too few observations: at least 20 must be
// expected on either side, and 4 groups be filled.
Estimate LogQuantile(const GroupedQuantiles& arm, double p);

// log of the ratio of two arms' quantiles.
Difference LogQuantileRatio(const GroupedQuantiles& treatment, const GroupedQuantiles& control, double p);

// P(treatment > control) + P(equal) / 2 less one half: the Mann-Whitney effect, its error from groups of units (Obuchowski 1997). Ties are bins.
Difference MannWhitneyClustered(const GroupedQuantiles& treatment, const GroupedQuantiles& control);

}  // namespace precis::stats

#endif  // PRECIS_SERVER_EXPERIMENTS_STATS_GROUPED_QUANTILES_H_
