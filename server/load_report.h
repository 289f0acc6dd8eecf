#ifndef PRECIS_SERVER_LOAD_REPORT_H_
#define PRECIS_SERVER_LOAD_REPORT_H_

#include <array>
#include <cstdint>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "runtime/engine.h"

namespace precis::server {

// The trailer that carries an ORCA load report for load balancers.
inline constexpr char kLoadReportKey[] = "endpoint-load-metrics-bin";

// Requests and errors per second and this process's use of the CPUs, over the last seconds. Thread-safe.
class LoadReporter {
 public:
  LoadReporter();
  void OnFinished(bool ok, absl::Time now = absl::Now());
  // A serialised xds.data.orca.v3.OrcaLoadReport. `engine` may be null (loading).
  std::string Report(const runtime::Engine* engine, absl::Time now = absl::Now());

 private:
  static constexpr int kSeconds = 10;
  struct Bucket {
    int64_t second = -1;
    int64_t requests = 0, errors = 0;
  };

  double CpuUtilization(absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  absl::Mutex mutex_;
  std::array<Bucket, kSeconds + 1> buckets_ ABSL_GUARDED_BY(mutex_);
  absl::Time cpu_time_ ABSL_GUARDED_BY(mutex_);
  absl::Duration cpu_used_ ABSL_GUARDED_BY(mutex_);
  double cpu_utilization_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace precis::server

#endif  // PRECIS_SERVER_LOAD_REPORT_H_
