#include "client/summarizer_client.h"

#include <utility>

#include "client/internal/client_impl.h"
#include "client/internal/connection.h"

namespace precis::client {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

absl::StatusOr<std::unique_ptr<SummarizerClient>> SummarizerClient::Create(const ConnectionOptions& options) {
  auto channel = Connect(options);
  if (!channel.ok()) return channel.status();
  return std::unique_ptr<SummarizerClient>(
      new SummarizerClient(std::make_unique<Impl>(options, *std::move(channel))));
}

SummarizerClient::SummarizerClient(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

SummarizerClient::~SummarizerClient() {
  impl_->streams.Cancel();
  Impl* impl = impl_.get();
  const auto none_open = [impl]() ABSL_SHARED_LOCKS_REQUIRED(impl->mutex) { return impl->open_streams == 0; };
  absl::MutexLock lock(&impl->mutex);
  impl->mutex.Await(absl::Condition(&none_open));
}

absl::StatusOr<v1::SummarizeResponse> SummarizerClient::Summarize(const v1::SummarizeRequest& request,
                                                                  const CallOptions& options) {
  if (impl_->options.hedge.delay < absl::InfiniteDuration()) return impl_->SummarizeHedged(request, options);
  return impl_->Unary<v1::SummarizeResponse>(options, [&](auto* context, auto* response) {
    return impl_->summarizer->Summarize(context, request, response);
  });
}

absl::StatusOr<v1::ListModelsResponse> SummarizerClient::ListModels(const CallOptions& options) {
  return impl_->Unary<v1::ListModelsResponse>(options, [&](auto* context, auto* response) {
    return impl_->summarizer->ListModels(context, v1::ListModelsRequest(), response);
  });
}

absl::StatusOr<v1::ListBackendsResponse> SummarizerClient::ListBackends(const CallOptions& options) {
  return impl_->Unary<v1::ListBackendsResponse>(options, [&](auto* context, auto* response) {
    return impl_->summarizer->ListBackends(context, v1::ListBackendsRequest(), response);
  });
}

absl::StatusOr<v1::SummarizeResponse> SummarizerClient::StreamSummarize(
    const v1::SummarizeRequest& request, absl::FunctionRef<bool(std::string_view)> on_delta,
    const CallOptions& options) {
  const absl::Time deadline = absl::Now() + options.timeout;
  Cancellation never;
  Cancellation* cancellation = options.cancellation != nullptr ? options.cancellation : &never;
  v1::SummarizeResponse result;
  bool complete = false;
  const auto attempt = [&](bool* committed) -> absl::Status {
    grpc::ClientContext context;
    impl_->Prepare(deadline, &context);
    Cancellation::Registration registration(cancellation, &context);
    auto stream = impl_->summarizer->StreamSummarize(&context, request);
    v1::StreamSummarizeResponse message;
    bool wanted = true;
    while (stream->Read(&message)) {
      *committed = true;
      if (wanted && !message.delta().empty() && !on_delta(message.delta())) {
        wanted = false;
        context.TryCancel();
      }
      if (!message.has_result()) continue;
      complete = true;
      result = std::move(*message.mutable_result());
    }
    const grpc::Status status = stream->Finish();
    return wanted ? impl_->Status(status, context) : absl::CancelledError("cancelled by on_delta");
  };
  absl::Status status = RunWithRetries(impl_->NewAttempts(options), deadline, *cancellation, attempt);
  if (!status.ok()) return status;
  if (!complete) return absl::InternalError("the stream ended without a result: is this a Precis server?");
  return result;
}

namespace {

Health FromProto(HealthCheckResponse::ServingStatus status) {
  switch (status) {
    case HealthCheckResponse::SERVING:
      return Health::kServing;
    case HealthCheckResponse::NOT_SERVING:
      return Health::kNotServing;
    default:
      return Health::kUnknown;
  }
}

HealthCheckRequest HealthRequest(const std::string& service) {
  HealthCheckRequest request;
  request.set_service(service);
  return request;
}

}  // namespace

absl::StatusOr<Health> SummarizerClient::CheckHealth(const std::string& service, const CallOptions& options) {
  auto response = impl_->Unary<HealthCheckResponse>(options, [&](auto* context, auto* response) {
    return impl_->health->Check(context, HealthRequest(service), response);
  });
  if (!response.ok()) return response.status();
  return FromProto(response->status());
}

absl::Status SummarizerClient::WatchHealth(const std::string& service,
                                           absl::FunctionRef<bool(Health)> on_change,
                                           const CallOptions& options) {
  grpc::ClientContext context;
  impl_->Prepare(absl::Now() + options.timeout, &context);
  Cancellation::Registration registration(options.cancellation, &context);
  auto stream = impl_->health->Watch(&context, HealthRequest(service));
  HealthCheckResponse response;
  bool wanted = true;
  while (stream->Read(&response)) {
    if (wanted && !on_change(FromProto(response.status()))) {
      wanted = false;
      context.TryCancel();
    }
  }
  const grpc::Status status = stream->Finish();
  return wanted ? impl_->Status(status, context) : absl::OkStatus();
}

}  // namespace precis::client
