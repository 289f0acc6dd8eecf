#ifndef PRECIS_CLIENT_LOAD_WORKLOAD_H_
#define PRECIS_CLIENT_LOAD_WORKLOAD_H_

#include <random>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/load/options.h"

namespace precis::load {

// What is sent and when: fixed by the options and their seed. Not thread-safe.
class Workload {
 public:
  // Reads the documents.
  static absl::StatusOr<Workload> Create(const Options& options);

  v1::SummarizeRequest NextRequest();
  // The time between two arrivals of a Poisson process.
  absl::Duration NextGap(double rate);
  const std::vector<std::string>& backends() const { return backends_; }

 private:
  explicit Workload(const Options& options);
  absl::Status ParseMix(const std::string& text);
  absl::Status ParseSynthetic(const std::string& text);
  std::string NextDocument();

  v1::SummarizeRequest prototype_;
  std::vector<std::string> backends_;
  std::vector<double> weights_;
  std::vector<std::string> documents_;
  size_t next_document_ = 0;
  int low_words_ = 0, high_words_ = 0;
  std::mt19937_64 random_;
};

}  // namespace precis::load

#endif  // PRECIS_CLIENT_LOAD_WORKLOAD_H_
