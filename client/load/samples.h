#ifndef PRECIS_CLIENT_LOAD_SAMPLES_H_
#define PRECIS_CLIENT_LOAD_SAMPLES_H_

#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace precis::load {

// One request. Seconds count from the intended arrival.
struct Sample {
  std::string backend;  // that served it, else that was asked for, else "default"
  std::string code;     // "OK", a gRPC code, or "DROPPED" (never sent: too many in flight)
  double latency = 0;
  double time_to_first_token = -1;  // < 0: there was none
  std::vector<float> gaps;          // between the pieces of text
  int new_tokens = 0;
  int prompt_tokens = 0;
};

// Nearest-rank percentile of sorted values; `percent` in (0, 100]. 0 if there are none.
double Percentile(const std::vector<double>& sorted, double percent);

struct Distribution {
  std::vector<double> sorted;
  double mean() const;
};

// What the samples of one backend, or all, say.
struct Summary {
  int64_t requests = 0, ok = 0;
  int64_t prompt_tokens = 0, new_tokens = 0;
  std::map<std::string, int64_t> errors;  // by code
  Distribution latency;                   // of the good ones, as the others
  Distribution time_to_first_token;
  Distribution inter_token;
};

Summary Summarize(const std::vector<const Sample*>& samples);

// A stage's samples at one rate.
struct Stage {
  double rate = 0;  // 0: closed loop
  double seconds = 0;  // from the first arrival to the last answer
  std::vector<Sample> samples;

  std::map<std::string, Summary> ByBackend() const;
  Summary All() const;
};

}  // namespace precis::load

#endif  // PRECIS_CLIENT_LOAD_SAMPLES_H_
