#ifndef PRECIS_TESTS_SERVER_METRICS_SYNTHETIC_LOAD_H_
#define PRECIS_TESTS_SERVER_METRICS_SYNTHETIC_LOAD_H_

#include <cstdint>
#include <deque>
#include <random>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "server/metrics/metrics.h"

namespace precis::server {

// A simulated engine that calls Metrics as a loaded one would: four backends of two checkpoints, an experiment of two
// arms, a queue, cancellations and refusals. Not thread-safe.
class SyntheticLoad {
 public:
  explicit SyntheticLoad(Metrics* metrics);

  // Lets `step` pass.
  void Advance(absl::Duration step);

  static std::string StatusJson(int64_t started_unix_seconds);

 private:
  struct Backend {
    const char* name;
    double token_ms;       // per step at a small batch
    double prefill_ms;     // for 500 tokens
    int64_t workspace_bytes;
    double arrivals_per_s;
  };
  struct Job {
    const Backend* backend;
    bool in_experiment;
    int priority, prompt_tokens, left, produced = 0;
    absl::Duration age, since_token, prefill;
    absl::Duration queue;
    absl::Duration first_token;
  };
  static const Backend kBackends[];

  runtime::RequestLabels LabelsOf(const Job& job) const;
  void TellExperiment();
  void TellGpu();
  void Arrive(absl::Duration step);
  void Schedule();
  void Generate(absl::Duration step);
  void Finish(const Job& job);
  void Report(absl::Duration step, int decoded);
  double Jitter(double spread);

  Metrics* const metrics_;
  std::mt19937_64 random_{7};
  std::deque<Job> waiting_;
  std::vector<Job> running_;
  int64_t kv_peak_ = 0;
  absl::Duration time_;
  int told_ = 0;
};

}  // namespace precis::server

#endif  // PRECIS_TESTS_SERVER_METRICS_SYNTHETIC_LOAD_H_
