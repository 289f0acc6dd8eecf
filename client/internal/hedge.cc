#include "client/internal/hedge.h"

#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <utility>

#include "client/internal/client_impl.h"

namespace precis::client {
namespace {

constexpr int kCopies = 2;

// What the calls' callbacks write. They may outlive whoever waits for them by a moment, so they share its ownership.
struct Ends {
  absl::Mutex mutex;
  std::array<std::optional<grpc::Status>, kCopies> status ABSL_GUARDED_BY(mutex);
  int last ABSL_GUARDED_BY(mutex) = 0;  // to end
};

// Whether this end of one copy is the answer. A wrong request, or one out of time, is so on each server.
bool AnswersForBoth(const absl::Status& status) { return !IsRetriable(status) && !absl::IsInternal(status); }

}  // namespace

void HedgeBudget::OnCall() {
  absl::MutexLock lock(&mutex_);
  tokens_ = std::min(options_.burst, tokens_ + options_.budget);
}

bool HedgeBudget::Take() {
  absl::MutexLock lock(&mutex_);
  if (tokens_ < 1) return false;
  tokens_ -= 1;
  return true;
}

// Up to two copies of one call. The contexts are this object's: they hold the channel, whose last reference must not be dropped by gRPC's thread.
class SummarizerClient::Impl::HedgedSummary {
 public:
  HedgedSummary(Impl* impl, const v1::SummarizeRequest& request, absl::Time deadline, Cancellation* cancellation)
      : impl_(impl), request_(request), deadline_(deadline), cancellation_(cancellation) {}

  // Ends what still runs and waits for it.
  ~HedgedSummary() {
    for (int i = 0; i < started_; ++i) copies_[i].context.TryCancel();
    absl::MutexLock lock(&ends_->mutex);
    const auto ended = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(ends_->mutex) { return CountEnded() == started_; };
    ends_->mutex.Await(absl::Condition(&ended));
  }

  absl::Status Run(v1::SummarizeResponse* response) {
    impl_->hedges.OnCall();
    Start();
    int answer = -1;
    const auto answered = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(ends_->mutex) { return (answer = Answer()) >= 0; };
    bool slow;
    {
      absl::MutexLock lock(&ends_->mutex);
      slow = !ends_->mutex.AwaitWithTimeout(absl::Condition(&answered), impl_->options.hedge.delay);
    }
    if (slow && impl_->hedges.Take()) Start();
    absl::MutexLock lock(&ends_->mutex);
    ends_->mutex.Await(absl::Condition(&answered));
    *response = std::move(copies_[answer].response);
    return StatusOf(answer);
  }

 private:
  struct Copy {
    grpc::ClientContext context;
    v1::SummarizeResponse response;
    std::optional<Cancellation::Registration> registration;
  };

  void Start() {
    const int index = started_++;
    Copy& copy = copies_[index];
    impl_->Prepare(deadline_, &copy.context);
    copy.registration.emplace(cancellation_, &copy.context);
    impl_->summarizer->async()->Summarize(&copy.context, &request_, &copy.response, [ends = ends_, index](const grpc::Status& status) {
      absl::MutexLock lock(&ends->mutex);
      ends->status[index] = status;
      ends->last = index;
    });
  }

  int CountEnded() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(ends_->mutex) {
    return static_cast<int>(std::count_if(ends_->status.begin(), ends_->status.end(), [](const auto& status) { return status.has_value(); }));
  }
  absl::Status StatusOf(int index) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(ends_->mutex) {
    return impl_->Status(*ends_->status[index], copies_[index].context);
  }
  // The copy whose end is the call's; -1: not yet.
  int Answer() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(ends_->mutex) {
    for (int i = 0; i < started_; ++i) {
      if (ends_->status[i].has_value() && AnswersForBoth(StatusOf(i))) return i;
    }
    return CountEnded() == started_ ? ends_->last : -1;
  }

  Impl* const impl_;
  const v1::SummarizeRequest& request_;
  const absl::Time deadline_;
  Cancellation* const cancellation_;
  std::array<Copy, kCopies> copies_;
  int started_ = 0;
  const std::shared_ptr<Ends> ends_ = std::make_shared<Ends>();
};

absl::StatusOr<v1::SummarizeResponse> SummarizerClient::Impl::SummarizeHedged(const v1::SummarizeRequest& request, const CallOptions& call_options) {
  const absl::Time deadline = absl::Now() + call_options.timeout;
  Cancellation never;
  Cancellation* cancellation = call_options.cancellation != nullptr ? call_options.cancellation : &never;
  v1::SummarizeResponse response;
  const absl::Status status = RunWithRetries(NewAttempts(call_options), deadline, *cancellation, [&](bool*) {
    return HedgedSummary(this, request, deadline, cancellation).Run(&response);
  });
  if (!status.ok()) return status;
  return response;
}

}  // namespace precis::client
