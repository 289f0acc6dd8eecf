#include <grpcpp/grpcpp.h>

#include "client/summarizer_client.h"

namespace precis::client {

void Cancellation::Cancel() {
  absl::MutexLock lock(&mutex_);
  cancelled_ = true;
  for (Registration* registration : registrations_) registration->on_cancel_();
}

bool Cancellation::cancelled() const {
  absl::MutexLock lock(&mutex_);
  return cancelled_;
}

bool Cancellation::SleepUntil(absl::Time time) const {
  absl::MutexLock lock(&mutex_);
  return !mutex_.AwaitWithDeadline(absl::Condition(&cancelled_), time);
}

// A context that is cancelled before its call starts ends the call at once.
Cancellation::Registration::Registration(Cancellation* cancellation, grpc::ClientContext* context)
    : Registration(cancellation, [context] { context->TryCancel(); }) {}

Cancellation::Registration::Registration(Cancellation* cancellation, std::function<void()> on_cancel)
    : cancellation_(cancellation), on_cancel_(std::move(on_cancel)) {
  if (cancellation_ == nullptr) return;
  absl::MutexLock lock(&cancellation_->mutex_);
  cancellation_->registrations_.insert(this);
  if (cancellation_->cancelled_) on_cancel_();
}

Cancellation::Registration::~Registration() {
  if (cancellation_ == nullptr) return;
  absl::MutexLock lock(&cancellation_->mutex_);
  cancellation_->registrations_.erase(this);
}

}  // namespace precis::client
