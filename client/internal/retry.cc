#include "client/internal/retry.h"

#include <algorithm>
#include <cmath>

namespace precis::client {
namespace {

// Uniform in [low, high).
double Uniform(double low, double high) {
  thread_local std::mt19937_64 generator{std::random_device{}()};
  return std::uniform_real_distribution<double>(low, high)(generator);
}

}  // namespace

bool IsRetriable(const absl::Status& status) {
  // Without the server's wish it is a bound that waiting doesn't lift, such as the size of a message.
  if (absl::IsResourceExhausted(status)) return RetryAfter(status).has_value();
  return absl::IsUnavailable(status);
}

void RetryBudget::OnSuccess() {
  absl::MutexLock lock(&mutex_);
  tokens_ = std::min(capacity_, tokens_ + refill_);
}

bool RetryBudget::OnRetriableFailure() {
  absl::MutexLock lock(&mutex_);
  tokens_ = std::max(0.0, tokens_ - 1);
  return tokens_ > capacity_ / 2;
}

std::optional<absl::Duration> Attempts::After(const absl::Status& status) {
  ++made_;
  if (status.ok()) budget_->OnSuccess();
  if (!IsRetriable(status)) return std::nullopt;
  const bool affordable = budget_->OnRetriableFailure();
  if (!affordable || made_ >= max_attempts_) return std::nullopt;
  const std::optional<absl::Duration> wish = RetryAfter(status);
  if (!wish) return Backoff();
  if (*wish < absl::ZeroDuration()) return std::nullopt;
  // A little later than asked, so that clients told the same don't come back together.
  return *wish * Uniform(1.0, 1.1);
}

absl::Duration Attempts::Backoff() const {
  const absl::Duration bound =
      std::min(options_->initial_backoff * std::pow(options_->multiplier, made_ - 1), options_->max_backoff);
  return bound * Uniform(0.5, 1.0);
}

std::optional<absl::Duration> NextAttempt(Attempts* attempts, absl::Time deadline, bool committed, bool cancelled, absl::Status* status) {
  // gRPC cancels a call that reaches a server in the moment in which it closes; nobody here asked for that.
  if (absl::IsCancelled(*status) && !committed && !cancelled) *status = absl::UnavailableError("the server cancelled the call as it stopped");
  const std::optional<absl::Duration> wait = attempts->After(*status);
  if (!wait || committed || absl::Now() + *wait >= deadline) return std::nullopt;
  return wait;
}

absl::Status RunWithRetries(Attempts attempts, absl::Time deadline, const Cancellation& cancellation,
                            absl::FunctionRef<absl::Status(bool*)> attempt) {
  while (true) {
    bool committed = false;
    absl::Status status = attempt(&committed);
    const std::optional<absl::Duration> wait = NextAttempt(&attempts, deadline, committed, cancellation.cancelled(), &status);
    if (!wait) return status;
    if (!cancellation.SleepUntil(absl::Now() + *wait)) return absl::CancelledError("cancelled by the caller");
  }
}

}  // namespace precis::client
