#include "server/experiments/stats/inference.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "server/experiments/stats/distributions.h"

namespace precis::stats {
namespace {

constexpr double kMostUnits = 1e15;

int64_t Units(double n) { return static_cast<int64_t>(std::ceil(std::clamp(n, 1.0, kMostUnits))); }

}  // namespace

std::vector<double> Holm(const std::vector<double>& p_values) {
  std::vector<size_t> order(p_values.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return p_values[a] < p_values[b]; });
  std::vector<double> out(p_values.size());
  double largest = 0;
  for (size_t i = 0; i < order.size(); ++i) {
    largest = std::max(largest, std::min(1.0, static_cast<double>(order.size() - i) * p_values[order[i]]));
    out[order[i]] = largest;
  }
  return out;
}

Interval Wilson(int64_t successes, int64_t trials, double alpha) {
  if (trials == 0) return {0, 1, 1};
  const double z = NormalQuantile(1 - alpha / 2), n = static_cast<double>(trials), p = static_cast<double>(successes) / n;
  const double scale = 1 + z * z / n, center = (p + z * z / (2 * n)) / scale;
  const double half = z / scale * std::sqrt(p * (1 - p) / n + z * z / (4 * n * n));
  return {std::max(0.0, center - half), std::min(1.0, center + half), 1};
}

SampleSize UnitsNeeded(double unit_variance, double effect, double tau, double alpha, double power) {
  SampleSize out;
  if (!(unit_variance > 0) || !(effect > 0)) return out;
  const double z_power = NormalQuantile(power), z = NormalQuantile(1 - alpha / 2) + z_power;
  out.fixed = Units(2 * z * z * unit_variance / (effect * effect));
  // The largest error of the difference at which the estimate passes the boundary with probability `power`.
  double low = 0, high = effect;
  for (int i = 0; i < 200; ++i) {
    const double se = (low + high) / 2;
    (AlwaysValidHalfWidth(se, tau, alpha) + z_power * se <= effect ? low : high) = se;
  }
  out.always_valid = Units(2 * unit_variance / (low * low));
  return out;
}

}  // namespace precis::stats
