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
  // Without `retry` one attempt only.
  Attempts(const RetryOptions& options, RetryBudget* budget, bool retry = true)
      : options_(&options), budget_(budget), max_attempts_(retry ? options.max_attempts : 1) {}

  // After an attempt ended with `status`: how long to wait before the next one; nullopt: there is none.
  // The budget is told in either case.
  std::optional<absl::Duration> After(const absl::Status& status);

 private:
  absl::Duration Backoff() const;

  const RetryOptions* options_;
  RetryBudget* budget_;
  int max_attempts_;
  int made_ = 0;
};

// After an attempt that ended with *status: how long to wait before the next one; nullopt: there is none, because of the status, `attempts`, the deadline, or
// since the attempt was `committed` (part of its answer is with the caller). CANCELLED that nobody here asked for becomes UNAVAILABLE.
std::optional<absl::Duration> NextAttempt(Attempts* attempts, absl::Time deadline, bool committed, bool cancelled, absl::Status* status);

// Calls `attempt` until it succeeds or must not be tried again: by its status, by *committed which it may
// set, by `attempts`, by the deadline or by cancellation. Returns the last attempt's status.
absl::Status RunWithRetries(Attempts attempts, absl::Time deadline, const Cancellation& cancellation,
                            absl::FunctionRef<absl::Status(bool* committed)> attempt);

}  // namespace precis::client

#endif  // PRECIS_CLIENT_INTERNAL_RETRY_H_
