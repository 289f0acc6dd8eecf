#include "server/experiments/stats/grouped_moments.h"

#include <algorithm>
#include <cmath>

namespace precis::stats {
namespace {

struct Sums {
  double n = 0, y = 0, x = 0, n2 = 0;
  int groups = 0;
};

Sums SumsOf(const GroupedMoments& arm) {
  Sums sums;
  for (const GroupedMoments::Group& g : arm.groups()) {
    if (g.n == 0) continue;
    sums.n += g.n;
    sums.y += g.y;
    sums.x += g.x;
    sums.n2 += g.n * g.n;
    ++sums.groups;
  }
  return sums;
}

// The mean of y - theta (x - center).
Estimate AdjustedMean(const GroupedMoments& arm, double theta, double center) {
  const Sums sums = SumsOf(arm);
  Estimate out;
  out.count = sums.n;
  if (sums.n == 0) return out;
  const double mean_y = sums.y / sums.n, mean_x = sums.x / sums.n;
  out.value = mean_y - theta * (mean_x - center);
  if (sums.groups < 2) return out;
  double squares = 0;
  for (const GroupedMoments::Group& g : arm.groups()) {
    const double d = (g.y - mean_y * g.n) - theta * (g.x - mean_x * g.n);
    squares += d * d;
  }
  const double groups = sums.groups;
  out.se = std::sqrt(groups / (groups - 1) * squares) / sums.n;
  out.degrees = std::max(1.0, std::min(groups, sums.n * sums.n / sums.n2) - 1);
  return out;
}

}  // namespace

void GroupedMoments::Add(int group, double y, double x) {
  Group& g = groups_[static_cast<size_t>(group) % kGroups];
  g.n += 1;
  g.y += y;
  g.x += x;
}

void GroupedMoments::Merge(const GroupedMoments& other) {
  for (int i = 0; i < kGroups; ++i) {
    groups_[i].n += other.groups_[i].n;
    groups_[i].y += other.groups_[i].y;
    groups_[i].x += other.groups_[i].x;
  }
}

double GroupedMoments::count() const {
  double n = 0;
  for (const Group& g : groups_) n += g.n;
  return n;
}

void GroupedMoments::AppendTo(Writer* out) const {
  for (const Group& g : groups_) {
    out->Varint(static_cast<uint64_t>(g.n));
    if (g.n == 0) continue;
    out->Double(g.y);
    out->Double(g.x);
  }
}

GroupedMoments GroupedMoments::Read(Reader* in) {
  GroupedMoments out;
  for (Group& g : out.groups_) {
    g.n = static_cast<double>(in->Bounded(uint64_t{1} << 52));
    if (g.n == 0) continue;
    g.y = in->Double();
    g.x = in->Double();
  }
  return out;
}

Estimate RatioMean(const GroupedMoments& arm) { return AdjustedMean(arm, 0, 0); }

AdjustedPair Adjust(const GroupedMoments& control, const GroupedMoments& treatment) {
  double xy = 0, xx = 0, total_x = 0, total_n = 0;
  for (const GroupedMoments* arm : {&control, &treatment}) {
    const Sums sums = SumsOf(*arm);
    if (sums.n == 0) continue;
    total_x += sums.x;
    total_n += sums.n;
    for (const GroupedMoments::Group& g : arm->groups()) {
      const double dx = g.x - sums.x / sums.n * g.n;
      xy += (g.y - sums.y / sums.n * g.n) * dx;
      xx += dx * dx;
    }
  }
  AdjustedPair out;
  const double center = total_n == 0 ? 0 : total_x / total_n;
  out.theta = xx > 0 ? xy / xx : 0;
  out.control = AdjustedMean(control, out.theta, center);
  out.treatment = AdjustedMean(treatment, out.theta, center);
  return out;
}

}  // namespace precis::stats
