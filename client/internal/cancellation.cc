#include <grpcpp/grpcpp.h>

#include "client/summarizer_client.h"

namespace precis::client {

void Cancellation::Cancel() {
  absl::MutexLock lock(&mutex_);
  cancelled_ = true;
  for (grpc::ClientContext* context : contexts_) context->TryCancel();
}

bool Cancellation::cancelled() const {
  absl::MutexLock lock(&mutex_);
  return cancelled_;
}

bool Cancellation::SleepUntil(absl::Time time) const {
  absl::MutexLock lock(&mutex_);
  return !mutex_.AwaitWithDeadline(absl::Condition(&cancelled_), time);
}

Cancellation::Registration::Registration(Cancellation* cancellation, grpc::ClientContext* context)
    : cancellation_(cancellation), context_(context) {
  if (cancellation_ == nullptr) return;
  absl::MutexLock lock(&cancellation_->mutex_);
  cancellation_->contexts_.insert(context_);
  // A context that is cancelled before its call starts ends the call at once.
  if (cancellation_->cancelled_) context_->TryCancel();
}

Cancellation::Registration::~Registration() {
  if (cancellation_ == nullptr) return;
  absl::MutexLock lock(&cancellation_->mutex_);
  cancellation_->contexts_.erase(context_);
}

}  // namespace precis::client
