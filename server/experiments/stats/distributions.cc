#include "server/experiments/stats/distributions.h"

#include <boost/math/distributions/normal.hpp>
#include <boost/math/distributions/students_t.hpp>
#include <cmath>

namespace precis::stats {
namespace {

using boost::math::policies::domain_error;
using boost::math::policies::errno_on_error;
using boost::math::policies::evaluation_error;
using boost::math::policies::overflow_error;
using boost::math::policies::pole_error;
using Quiet = boost::math::policies::policy<domain_error<errno_on_error>, pole_error<errno_on_error>,
                                            overflow_error<errno_on_error>, evaluation_error<errno_on_error>>;
using Normal = boost::math::normal_distribution<double, Quiet>;
using StudentT = boost::math::students_t_distribution<double, Quiet>;

}  // namespace

double NormalCdf(double x) { return cdf(Normal(), x); }
double NormalQuantile(double p) { return quantile(Normal(), p); }
double TwoSidedNormalP(double z) { return 2 * cdf(complement(Normal(), std::abs(z))); }
double StudentTQuantile(double p, double degrees) { return quantile(StudentT(degrees), p); }
double TwoSidedStudentTP(double t, double degrees) { return 2 * cdf(complement(StudentT(degrees), std::abs(t))); }

}  // namespace precis::stats
