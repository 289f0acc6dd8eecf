#ifndef PRECIS_CLIENT_EVAL_STATS_RESAMPLING_H_
#define PRECIS_CLIENT_EVAL_STATS_RESAMPLING_H_

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

namespace precis::eval {

struct Interval {
  double low = 0, high = 0;
};

// A score made of the sums of the documents' numbers (one each for a mean; counts for BLEU) and how many documents were summed.
using Statistic = std::function<double(std::span<const double> sums, double documents)>;

// What is known of one system: per document a row of `width` numbers, summed before `statistic` makes a score of them.
struct Sample {
  int width = 1;
  std::vector<double> rows;  // documents * width
  Statistic statistic;

  int64_t documents() const { return static_cast<int64_t>(rows.size()) / width; }
  double Score() const;
};

Sample MeanSample(std::vector<double> values);

// The percentile bootstrap's interval of the score (Efron & Tibshirani 1993): `replicates` samples of documents with replacement.
Interval BootstrapInterval(const Sample& sample, double level, int replicates, uint64_t seed);

// Two systems on the same documents, in the same order.
struct PairedResult {
  double difference = 0;  // a - b
  Interval interval;      // paired bootstrap: both are scored on the same draws
  double p = 1;           // two-sided approximate randomisation (Noreen 1989): the systems' outputs swapped document by document at random
};
PairedResult ComparePaired(const Sample& a, const Sample& b, double level, int replicates, uint64_t seed);

// Holm's step-down correction for several comparisons; in the given order.
std::vector<double> HolmAdjust(std::span<const double> p);

// Linear interpolation between order statistics, as numpy.percentile; `sorted` ascending, not empty; percent 0 .. 100.
double Percentile(std::span<const double> sorted, double percent);

// y = factor * x^exponent, least squares of the logarithms; points with x or y <= 0 are left out. interval: 95%, by the
// normal approximation. `valid` with at least three points of two different x.
struct PowerFit {
  bool valid = false;
  double factor = 0, exponent = 0;
  Interval interval;
  int64_t points = 0;
};
PowerFit FitPower(std::span<const double> x, std::span<const double> y);

}  // namespace precis::eval

#endif  // PRECIS_CLIENT_EVAL_STATS_RESAMPLING_H_
