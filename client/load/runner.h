#ifndef PRECIS_CLIENT_LOAD_RUNNER_H_
#define PRECIS_CLIENT_LOAD_RUNNER_H_

#include <atomic>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "client/load/options.h"
#include "client/load/samples.h"
#include "client/load/workload.h"
#include "client/summarizer_client.h"

namespace precis::load {

// Sends the load; answers are recorded on gRPC's threads.
class Runner {
 public:
  // `interrupted` ends the arrivals early. All must outlive the runner.
  Runner(const Options& options, Workload* workload, client::SummarizerClient* client,
         const std::atomic<bool>* interrupted)
      : options_(options), workload_(workload), client_(client), interrupted_(interrupted) {}

  // Some requests of each backend, one after the other; the first error.
  absl::Status WarmUp();
  // Returns when every request has been answered or has passed its deadline.
  Stage RunOpenLoop(double rate);
  Stage RunClosedLoop();

 private:
  struct Call;
  void Start(absl::Time intended);
  void Record(Sample sample) ABSL_LOCKS_EXCLUDED(mutex_);
  void Drop(const v1::SummarizeRequest& request);
  // Waits until `time`; false if the load shall end.
  bool WaitUntil(absl::Time time);
  Stage Finish(double rate, absl::Time start);
  void Progress(absl::Time now) ABSL_LOCKS_EXCLUDED(mutex_);

  const Options& options_;
  Workload* const workload_;
  client::SummarizerClient* const client_;
  const std::atomic<bool>* const interrupted_;
  absl::Time next_progress_ = absl::InfinitePast();
  absl::Time stage_start_;

  absl::Mutex mutex_;
  std::vector<Sample> samples_ ABSL_GUARDED_BY(mutex_);
  int in_flight_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t started_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace precis::load

#endif  // PRECIS_CLIENT_LOAD_RUNNER_H_
