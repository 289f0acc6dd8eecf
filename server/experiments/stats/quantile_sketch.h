#ifndef PRECIS_SERVER_EXPERIMENTS_STATS_QUANTILE_SKETCH_H_
#define PRECIS_SERVER_EXPERIMENTS_STATS_QUANTILE_SKETCH_H_

#include <cstdint>
#include <vector>

#include "server/experiments/stats/coding.h"

namespace precis::stats {

// Counts of values >= 0 in bins whose bounds grow by a constant factor (DDSketch; Masson, Rim, Lee 2019): every quantile is within
// kRelativeError of a value that has that rank. Values below kSmallest count as kSmallest, above kLargest as kLargest. At most
// 2,420 bins, 4 bytes each, and only the range in use is held. Mergeable in any order. Not thread-safe.
class QuantileSketch {
 public:
  static constexpr double kRelativeError = 0.01;
  static constexpr double kSmallest = 1e-9, kLargest = 1e12;

  static int BinOf(double value);
  static double UpperBound(int bin);  // the bin holds (UpperBound(bin - 1), UpperBound(bin)]
  static double Middle(int bin);      // within kRelativeError of all of the bin

  void Add(double value) { AddToBin(BinOf(value), 1); }
  void AddToBin(int bin, uint32_t count);
  void Merge(const QuantileSketch& other);

  int64_t count() const { return count_; }
  // 0 <= p <= 1; 0 if empty. Interpolated within the bin.
  double Quantile(double p) const;
  // Observations in bins up to `bin`.
  int64_t CountUpTo(int bin) const;

  int first_bin() const { return first_; }
  const std::vector<uint32_t>& counts() const { return counts_; }  // of bins first_bin() + i

  void AppendTo(Writer* out) const;
  static QuantileSketch Read(Reader* in);

 private:
  int first_ = 0;
  std::vector<uint32_t> counts_;
  int64_t count_ = 0;
};

}  // namespace precis::stats

#endif  // PRECIS_SERVER_EXPERIMENTS_STATS_QUANTILE_SKETCH_H_
