#ifndef PRECIS_SERVER_EXPERIMENTS_STATS_RANK_TESTS_H_
#define PRECIS_SERVER_EXPERIMENTS_STATS_RANK_TESTS_H_

#include <cstdint>
#include <vector>

#include "server/experiments/stats/coding.h"
#include "server/experiments/stats/quantile_sketch.h"

namespace precis::stats {

struct RankTest {
  double statistic = 0;
  double z = 0;
  double p_value = 1;  // two-sided, normal approximation with ties
};

// Independent observations. statistic is U of `x`: the pairs in which x is larger, ties one half. As scipy.stats.mannwhitneyu(method="asymptotic",
// use_continuity=False) on the bins' values.
RankTest MannWhitney(const QuantileSketch& x, const QuantileSketch& y);

// Paired differences in bins of kWidth up to +-kLimit (more is counted at the limit), for the signed rank test of Wilcoxon in constant memory.
class SignedDifferences {
 public:
  static constexpr double kWidth = 0.002, kLimit = 8;
  SignedDifferences();
  void Add(double difference);
  void Merge(const SignedDifferences& other);
  int64_t count() const { return count_; }  // zeros included
  double Median() const;                    // within kWidth / 2
  // Zeros (less than kWidth / 2) are left out. As scipy.stats.wilcoxon(zero_method="wilcox", correction=False, method="approx") on the bins'
  // values; statistic is the smaller rank sum.
  RankTest Wilcoxon() const;

  void AppendTo(Writer* out) const;
  static SignedDifferences Read(Reader* in);

 private:
  std::vector<uint32_t> bins_;  // the middle one holds zero
  int64_t count_ = 0;
};

}  // namespace precis::stats

#endif  // PRECIS_SERVER_EXPERIMENTS_STATS_RANK_TESTS_H_
