#ifndef PRECIS_CLIENT_INTERNAL_RETRY_H_
#define PRECIS_CLIENT_INTERNAL_RETRY_H_

#include <optional>
#include <random>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "client/summarizer_client.h"

namespace precis::client {

bool IsRetriable(const absl::Status& status);

// The tokens of RetryOptions, shared by all calls of a client. Thread-safe.
class RetryBudget {
 public:
  explicit RetryBudget(const RetryOptions& options)
      : capacity_(options.budget_tokens), refill_(options.budget_refill), tokens_(options.budget_tokens) {}

  void OnSuccess();
  // Takes a token; true if a retry is allowed.
  bool OnRetriableFailure();

 private:
  const double capacity_;
  const double refill_;
  absl::Mutex mutex_;
  double tokens_ ABSL_GUARDED_BY(mutex_);
};

// The attempts of one request. Not thread-safe.
class Attempts {
 public:
  Attempts(const RetryOptions& options, RetryBudget* budget) : options_(&options), budget_(budget) {}

  // After an attempt ended with `status`: how long to wait before the next one; nullopt: there is none.
  // The budget is told in either case.
  std::optional<absl::Duration> After(const absl::Status& status);

 private:
  absl::Duration Backoff() const;

  const RetryOptions* options_;
  RetryBudget* budget_;
  int made_ = 0;
};

// Calls `attempt` until it succeeds or must not be tried again: by its status, by *committed which it may
// set, by `attempts`, by the deadline or by cancellation. Returns the last attempt's status.
absl::Status RunWithRetries(Attempts attempts, absl::Time deadline, const Cancellation& cancellation,
                            absl::FunctionRef<absl::Status(bool* committed)> attempt);

}  // namespace precis::client

#endif  // PRECIS_CLIENT_INTERNAL_RETRY_H_
