#ifndef PRECIS_SERVER_EXPERIMENTS_STATS_INTERVALS_H_
#define PRECIS_SERVER_EXPERIMENTS_STATS_INTERVALS_H_

#include "server/experiments/stats/grouped_moments.h"

namespace precis::stats {

// The difference of two independent estimates, or of their logarithms (then exp(value) - 1 is the relative lift).
struct Difference {
  double value = 0;
  double se = 0;
  double degrees = 0;  // Welch-Satterthwaite
};

Difference Subtract(const Estimate& treatment, const Estimate& control);
// log(treatment / control); both values must be positive.
Difference LogRatio(const Estimate& treatment, const Estimate& control);

struct Interval {
  double low = 0, high = 0;
  double p_value = 1;
};

// For one look at a number of units that was fixed before: Student's t.
Interval FixedHorizon(const Difference& difference, double alpha);

// Holds at all looks together: the probability that it ever misses the truth is at most alpha. The normal mixture boundary (Robbins 1970; as
// mSPRT Johari, Pekelis, Walsh 2015; for estimated variances, asymptotically, Waudby-Smith et al. 2021):
//   half width^2 = se^2 (se^2 + tau^2) / tau^2 * (log((se^2 + tau^2) / se^2) + 2 log(1 / alpha))
// tau is the size of effects that one expects (the standard deviation of the mixture); it must not depend on the data, and matters for the
// width only. se is first widened by t / z quantiles for its degrees of freedom. Requests of one unit that hang together positively make
// the process correlated more than the Brownian motion that the boundary is made for, so it is conservative there (Slepian's inequality).
Interval AlwaysValid(const Difference& difference, double tau, double alpha);

// The half width alone, at a standard error that is known.
double AlwaysValidHalfWidth(double se, double tau, double alpha);

}  // namespace precis::stats

#endif  // PRECIS_SERVER_EXPERIMENTS_STATS_INTERVALS_H_
