#ifndef PRECIS_SERVER_EXPERIMENTS_STATS_SAMPLE_RATIO_H_
#define PRECIS_SERVER_EXPERIMENTS_STATS_SAMPLE_RATIO_H_

#include <cstdint>
#include <map>
#include <vector>

#include "server/experiments/stats/coding.h"

namespace precis::stats {

// log of the Bayes factor of a Dirichlet-multinomial, centred on `shares` with this concentration, against the multinomial with `shares`:
// a test martingale (Lindon, Malek 2022), so exp(-max over time) is an always-valid p-value. Shares sum to 1.
inline constexpr double kSampleRatioConcentration = 1000;
double SampleRatioLogBayesFactor(const std::vector<int64_t>& counts, const std::vector<double>& shares);

// Distinct units by arm, in constant memory, and a sample-ratio test that may be looked at after every unit. Holds at most kCapacity units, an
// even sample of all by hash once there are more (Gibbons 2001). Not thread-safe.
//
// The test is by distinct units, never by requests: an arm may well make its units ask more often. Each new unit of the sample multiplies the
// evidence by predictive / expected probability of its arm, which stays a martingale when the sample is thinned.
class UnitCensus {
 public:
  static constexpr size_t kCapacity = 4096;

  explicit UnitCensus(std::vector<double> shares = {});

  // hash: 64 well-mixed bits of the unit id that are independent of its arm.
  void Add(uint64_t hash, int arm);
  // Of the same experiment on another server. Units seen by both count once. The evidence is that of the joint sample.
  void Merge(const UnitCensus& other);

  // About how many distinct units there were; exact up to kCapacity in all, then within 2% (one standard deviation).
  int64_t Units(int arm) const;
  const std::vector<int64_t>& sampled() const { return sampled_; }  // units in the sample, by arm
  double p_value() const;

  void AppendTo(Writer* out) const;
  static UnitCensus Read(Reader* in);

 private:
  void Thin();
  void Keep(uint64_t hash, int arm);
  bool InSample(uint64_t hash) const { return level_ == 0 || hash >> (64 - level_) == 0; }

  std::vector<double> shares_;
  std::map<uint64_t, uint8_t> units_;   // hash to arm; ordered, so that thinning cuts the end off
  int level_ = 0;                       // one in 2^level units is in the sample
  std::vector<int64_t> sampled_;        // of units_
  std::vector<int64_t> tested_;         // all that were ever new to the sample
  double log_evidence_ = 0, max_log_evidence_ = 0;
};

}  // namespace precis::stats

#endif  // PRECIS_SERVER_EXPERIMENTS_STATS_SAMPLE_RATIO_H_
