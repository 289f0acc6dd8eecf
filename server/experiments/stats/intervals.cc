#include "server/experiments/stats/intervals.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "server/experiments/stats/distributions.h"

namespace precis::stats {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

Difference Combine(double value, double se1, double degrees1, double se0, double degrees0) {
  Difference out;
  out.value = value;
  const double v1 = se1 * se1, v0 = se0 * se0;
  out.se = std::sqrt(v1 + v0);
  const double spread = (degrees1 > 0 ? v1 * v1 / degrees1 : 0) + (degrees0 > 0 ? v0 * v0 / degrees0 : 0);
  out.degrees = spread > 0 ? (v1 + v0) * (v1 + v0) / spread : std::max(1.0, degrees1 + degrees0);
  return out;
}

}  // namespace

Difference Subtract(const Estimate& treatment, const Estimate& control) {
  return Combine(treatment.value - control.value, treatment.se, treatment.degrees, control.se, control.degrees);
}

Difference LogRatio(const Estimate& treatment, const Estimate& control) {
  return Combine(std::log(treatment.value / control.value), treatment.se / treatment.value, treatment.degrees,
                 control.se / control.value, control.degrees);
}

Interval FixedHorizon(const Difference& difference, double alpha) {
  if (!(difference.se > 0)) return {-kInfinity, kInfinity, 1};
  const double half = StudentTQuantile(1 - alpha / 2, difference.degrees) * difference.se;
  return {difference.value - half, difference.value + half,
          TwoSidedStudentTP(difference.value / difference.se, difference.degrees)};
}

double AlwaysValidHalfWidth(double se, double tau, double alpha) {
  const double v = se * se, prior = tau * tau;
  return std::sqrt(v * (v + prior) / prior * (std::log1p(prior / v) - 2 * std::log(alpha)));
}

Interval AlwaysValid(const Difference& difference, double tau, double alpha) {
  if (!(difference.se > 0) || !(tau > 0)) return {-kInfinity, kInfinity, 1};
  const double widen = StudentTQuantile(1 - alpha / 2, difference.degrees) / NormalQuantile(1 - alpha / 2);
  const double se = difference.se * widen;
  const double half = AlwaysValidHalfWidth(se, tau, alpha);
  const double v = se * se, prior = tau * tau;
  const double log_likelihood_ratio =
      difference.value * difference.value * prior / (2 * v * (v + prior)) - 0.5 * std::log1p(prior / v);
  return {difference.value - half, difference.value + half, std::min(1.0, std::exp(-log_likelihood_ratio))};
}

}  // namespace precis::stats
