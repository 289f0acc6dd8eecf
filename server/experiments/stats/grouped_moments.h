#ifndef PRECIS_SERVER_EXPERIMENTS_STATS_GROUPED_MOMENTS_H_
#define PRECIS_SERVER_EXPERIMENTS_STATS_GROUPED_MOMENTS_H_

#include <array>
#include <cstdint>

#include "server/experiments/stats/coding.h"

namespace precis::stats {

// Units are hashed into this many groups. A group holds whole units, so groups are independent however the requests of a unit hang
// together, and the spread between groups gives the variance: a delta method whose memory does not grow with the traffic.
inline constexpr int kGroups = 256;

// Counts and sums of an outcome y and a covariate x by group of units. Mergeable in any order. Not thread-safe.
class GroupedMoments {
 public:
  struct Group {
    double n = 0, y = 0, x = 0;
  };

  // group: 0 .. kGroups - 1.
  void Add(int group, double y, double x = 0);
  void Merge(const GroupedMoments& other);
  double count() const;
  const std::array<Group, kGroups>& groups() const { return groups_; }

  void AppendTo(Writer* out) const;
  static GroupedMoments Read(Reader* in);  // in->ok() says whether it is one

 private:
  std::array<Group, kGroups> groups_ = {};
};

// A mean over observations, with the uncertainty of clustered data.
struct Estimate {
  double value = 0;
  double se = 0;           // standard error
  double degrees = 0;      // of freedom of se: effective number of groups less one
  double count = 0;        // observations
};

// The ratio of sums Y/N with its cluster-robust (delta method, linearised) standard error: with d_g = Y_g - R N_g over the G groups
// that are not empty, se^2 = G / (G - 1) * sum d_g^2 / N^2. Deng, Knoblich, Lu 2018. Zero se if fewer than two groups.
Estimate RatioMean(const GroupedMoments& arm);

// Both arms' means less what the covariate explains (CUPED; Deng, Xu, Kohavi, Walker 2013, over requests within groups): theta is fitted on
// the arms together, the adjusted means are R_y - theta (R_x - pooled R_x). x must be fixed before the arm acts (prompt length, values
// from before the experiment), never something that the arm changes.
struct AdjustedPair {
  Estimate control, treatment;
  double theta = 0;
};
AdjustedPair Adjust(const GroupedMoments& control, const GroupedMoments& treatment);

}  // namespace precis::stats

#endif  // PRECIS_SERVER_EXPERIMENTS_STATS_GROUPED_MOMENTS_H_
