// SummarizerClient::StartStream: calls on gRPC's callback API, so that thousands need no thread each.
#include <grpcpp/alarm.h>

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "absl/time/clock.h"
#include "client/internal/client_impl.h"

namespace precis::client {
namespace {

// One StartStream: attempts, one after the other, and the waits between them. Deletes itself when it is over, then calls on_deleted: a context holds the
// channel, whose last reference must not be dropped on gRPC's thread. (The channel's end joins that thread.)
class StartedStream {
 public:
  using Prepare = std::function<void(grpc::ClientContext*)>;
  using ToStatus = std::function<absl::Status(const grpc::Status&, const grpc::ClientContext&)>;

  StartedStream(const v1::SummarizeRequest& request, SummarizerClient::StreamCallbacks callbacks, v1::Summarizer::Stub* stub, Attempts attempts,
                absl::Time deadline, Prepare prepare, ToStatus to_status, std::function<void()> on_deleted)
      : request_(request),
        callbacks_(std::move(callbacks)),
        stub_(stub),
        attempts_(attempts),
        deadline_(deadline),
        prepare_(std::move(prepare)),
        to_status_(std::move(to_status)),
        on_deleted_(std::move(on_deleted)) {}

  // Either cancels it; `second` may be null.
  void Start(Cancellation* first, Cancellation* second) {
    cancellations_ = {first, second};
    Begin();
  }

 private:
  // A call. Ends with its OnDone, in which the stream deletes it.
  class Attempt : public grpc::ClientReadReactor<v1::StreamSummarizeResponse> {
   public:
    explicit Attempt(StartedStream* stream) : stream_(stream) {}

    void Start() {
      stream_->prepare_(&context);
      for (int i = 0; i < 2; ++i) registrations_[i].emplace(stream_->cancellations_[i], &context);
      stream_->stub_->async()->StreamSummarize(&context, &stream_->request_, this);
      StartRead(&message_);
      StartCall();
    }
    void OnReadDone(bool ok) override {
      if (!ok) return;
      committed = true;
      if (stream_->callbacks_.on_delta && !message_.delta().empty()) stream_->callbacks_.on_delta(message_.delta());
      if (message_.has_result()) result = std::move(*message_.mutable_result());
      StartRead(&message_);
    }
    void OnDone(const grpc::Status& status) override { stream_->OnAttemptDone(status); }

    grpc::ClientContext context;
    std::optional<v1::SummarizeResponse> result;
    bool committed = false;  // something came

   private:
    StartedStream* const stream_;
    std::optional<Cancellation::Registration> registrations_[2];
    v1::StreamSummarizeResponse message_;
  };

  void Begin() {
    attempt_ = std::make_unique<Attempt>(this);
    attempt_->Start();
  }

  bool cancelled() const {
    return std::any_of(cancellations_.begin(), cancellations_.end(), [](const Cancellation* c) { return c != nullptr && c->cancelled(); });
  }

  void OnAttemptDone(const grpc::Status& grpc_status) {
    absl::Status status = to_status_(grpc_status, attempt_->context);
    const bool committed = attempt_->committed;
    std::optional<v1::SummarizeResponse> result = std::move(attempt_->result);
    attempt_.reset();
    const std::optional<absl::Duration> wait = NextAttempt(&attempts_, deadline_, committed, cancelled(), &status);
    if (wait.has_value()) return Wait(*wait);
    if (!status.ok()) return Finish(std::move(status));
    if (!result.has_value()) return Finish(absl::InternalError("the stream ended without a result: is this a Precis server?"));
    Finish(*std::move(result));
  }

  void Wait(absl::Duration wait) {
    absl::MutexLock lock(&mutex_);  // the alarm may go off at once
    alarm_.emplace();
    alarm_->Set(absl::ToChronoTime(absl::Now() + wait), [this](bool) { OnAlarm(); });
    for (int i = 0; i < 2; ++i) wakers_[i].emplace(cancellations_[i], [this] { alarm_->Cancel(); });
  }

  // The time has come, or somebody cancelled the wait.
  void OnAlarm() {
    {
      absl::MutexLock lock(&mutex_);
      for (auto& waker : wakers_) waker.reset();
    }
    if (cancelled()) return Finish(absl::CancelledError("cancelled by the caller"));
    Begin();
  }

  void Finish(absl::StatusOr<v1::SummarizeResponse> answer) {
    callbacks_.on_done(std::move(answer));
    const std::function<void()> on_deleted = std::move(on_deleted_);
    delete this;
    on_deleted();
  }

  const v1::SummarizeRequest request_;
  const SummarizerClient::StreamCallbacks callbacks_;
  v1::Summarizer::Stub* const stub_;
  Attempts attempts_;
  const absl::Time deadline_;
  const Prepare prepare_;
  const ToStatus to_status_;
  std::function<void()> on_deleted_;
  std::array<Cancellation*, 2> cancellations_ = {};
  std::unique_ptr<Attempt> attempt_;
  absl::Mutex mutex_;
  std::optional<grpc::Alarm> alarm_;
  std::optional<Cancellation::Registration> wakers_[2] ABSL_GUARDED_BY(mutex_);
};

}  // namespace

void SummarizerClient::StartStream(const v1::SummarizeRequest& request, StreamCallbacks callbacks, const CallOptions& options) {
  Impl* impl = impl_.get();
  {
    absl::MutexLock lock(&impl->mutex);
    ++impl->open_streams;
  }
  const absl::Time deadline = absl::Now() + options.timeout;
  const auto prepare = [impl, deadline](grpc::ClientContext* context) { impl->Prepare(deadline, context); };
  const auto to_status = [impl](const grpc::Status& status, const grpc::ClientContext& context) { return impl->Status(status, context); };
  const auto closed = [impl] {
    absl::MutexLock lock(&impl->mutex);
    --impl->open_streams;
  };
  auto* stream = new StartedStream(request, std::move(callbacks), impl->summarizer.get(), impl->NewAttempts(options), deadline, prepare, to_status, closed);
  stream->Start(&impl->streams, options.cancellation);
}

}  // namespace precis::client
