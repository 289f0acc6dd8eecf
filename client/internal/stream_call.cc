// SummarizerClient::StartStream: one call on gRPC's callback API, so that thousands need no thread each.
#include <utility>

#include "client/internal/client_impl.h"

namespace precis::client {
namespace {

// Deletes itself when the call is over, then calls on_deleted: its context holds the channel, whose last reference must not be dropped on
// gRPC's thread. (The channel's end joins that thread.)
class StreamCall : public grpc::ClientReadReactor<v1::StreamSummarizeResponse> {
 public:
  using Done = std::function<void(const grpc::Status&, const grpc::ClientContext&, v1::SummarizeResponse*)>;

  StreamCall(const v1::SummarizeRequest& request, std::function<void(std::string_view)> on_delta, Done on_done,
             std::function<void()> on_deleted)
      : request_(request),
        on_delta_(std::move(on_delta)),
        on_done_(std::move(on_done)),
        on_deleted_(std::move(on_deleted)) {}

  grpc::ClientContext* context() { return &context_; }

  void Start(v1::Summarizer::Stub* stub, Cancellation* first, Cancellation* second) {
    first_.emplace(first, &context_);
    second_.emplace(second, &context_);
    stub->async()->StreamSummarize(&context_, &request_, this);
    StartRead(&message_);
    StartCall();
  }

  void OnReadDone(bool ok) override {
    if (!ok) return;
    if (on_delta_ && !message_.delta().empty()) on_delta_(message_.delta());
    if (message_.has_result()) result_ = std::move(*message_.mutable_result());
    complete_ = complete_ || message_.has_result();
    StartRead(&message_);
  }

  void OnDone(const grpc::Status& status) override {
    first_.reset();
    second_.reset();
    Done done = std::move(on_done_);
    done(status, context_, complete_ ? &result_ : nullptr);
    const std::function<void()> on_deleted = std::move(on_deleted_);
    delete this;
    on_deleted();
  }

 private:
  grpc::ClientContext context_;
  const v1::SummarizeRequest request_;
  const std::function<void(std::string_view)> on_delta_;
  Done on_done_;
  std::function<void()> on_deleted_;
  std::optional<Cancellation::Registration> first_, second_;
  v1::StreamSummarizeResponse message_;
  v1::SummarizeResponse result_;
  bool complete_ = false;
};

}  // namespace

void SummarizerClient::StartStream(const v1::SummarizeRequest& request, StreamCallbacks callbacks,
                                   const CallOptions& options) {
  Impl* impl = impl_.get();
  {
    absl::MutexLock lock(&impl->mutex);
    ++impl->open_streams;
  }
  auto finish = [impl, on_done = std::move(callbacks.on_done)](
                    const grpc::Status& status, const grpc::ClientContext& context,
                    v1::SummarizeResponse* result) {
    if (!status.ok()) {
      on_done(impl->Status(status, context));
    } else if (result == nullptr) {
      on_done(absl::InternalError("the stream ended without a result: is this a Precis server?"));
    } else {
      on_done(std::move(*result));
    }
  };
  const auto closed = [impl] {
    absl::MutexLock lock(&impl->mutex);
    --impl->open_streams;
  };
  auto* call = new StreamCall(request, std::move(callbacks.on_delta), std::move(finish), closed);
  impl->Prepare(absl::Now() + options.timeout, call->context());
  call->Start(impl->summarizer.get(), &impl->streams, options.cancellation);
}

}  // namespace precis::client
