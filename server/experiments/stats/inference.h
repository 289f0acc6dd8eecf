#ifndef PRECIS_SERVER_EXPERIMENTS_STATS_INFERENCE_H_
#define PRECIS_SERVER_EXPERIMENTS_STATS_INFERENCE_H_

#include <cstdint>
#include <vector>

#include "server/experiments/stats/intervals.h"

namespace precis::stats {

// p-values adjusted for being several (Holm 1979), in the order given. Also for always-valid p-values, which stay so.
std::vector<double> Holm(const std::vector<double>& p_values);

// The interval of a share (Wilson 1927). successes <= trials; [0, 1] without trials.
Interval Wilson(int64_t successes, int64_t trials, double alpha);

// How many units each of two equal arms needs to see an effect of size `effect` with probability `power`, where one unit contributes
// `unit_variance` to the variance of the arm's mean (se^2 = unit_variance / units), in the units of the effect squared.
struct SampleSize {
  int64_t fixed = 0;         // one look at the end: 2 (z_{1 - alpha/2} + z_power)^2 variance / effect^2
  int64_t always_valid = 0;  // the always-valid interval leaves 0 out by then
};
SampleSize UnitsNeeded(double unit_variance, double effect, double tau, double alpha, double power);

}  // namespace precis::stats

#endif  // PRECIS_SERVER_EXPERIMENTS_STATS_INFERENCE_H_
