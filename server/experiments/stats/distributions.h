#ifndef PRECIS_SERVER_EXPERIMENTS_STATS_DISTRIBUTIONS_H_
#define PRECIS_SERVER_EXPERIMENTS_STATS_DISTRIBUTIONS_H_

namespace precis::stats {

// Boost.Math's distributions without its exceptions: out-of-range arguments give NaN.

double NormalCdf(double x);
double NormalQuantile(double p);  // 0 < p < 1
double TwoSidedNormalP(double z);
double StudentTQuantile(double p, double degrees);  // degrees > 0
double TwoSidedStudentTP(double t, double degrees);

}  // namespace precis::stats

#endif  // PRECIS_SERVER_EXPERIMENTS_STATS_DISTRIBUTIONS_H_
