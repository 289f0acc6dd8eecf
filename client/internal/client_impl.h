#ifndef PRECIS_CLIENT_INTERNAL_CLIENT_IMPL_H_
#define PRECIS_CLIENT_INTERNAL_CLIENT_IMPL_H_

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>

#include "client/internal/hedge.h"
#include "client/internal/retry.h"
#include "client/internal/status.h"
#include "client/summarizer_client.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "precis/v1/summarizer.grpc.pb.h"

namespace precis::client {

struct SummarizerClient::Impl {
  Impl(const ConnectionOptions& connection, std::shared_ptr<grpc::Channel> channel)
      : options(connection),
        budget(connection.retry),
        hedges(connection.hedge),
        summarizer(v1::Summarizer::NewStub(channel)),
        health(grpc::health::v1::Health::NewStub(channel)) {}

  Attempts NewAttempts(const CallOptions& call) { return Attempts(options.retry, &budget, call.retry); }
  absl::Status Status(const grpc::Status& status, const grpc::ClientContext& context) const {
    return ToAbslStatus(status, &context, options.address);
  }
  void Prepare(absl::Time deadline, grpc::ClientContext* context) const {
    context->set_deadline(absl::ToChronoTime(deadline));
    if (!options.bearer_token.empty()) {
      context->AddMetadata("authorization", "Bearer " + options.bearer_token);
    }
    if (!options.call_metadata) return;
    for (const auto& [key, value] : options.call_metadata()) context->AddMetadata(key, value);
  }

  // A unary call with retries: call(context, &response) -> grpc::Status.
  template <typename Response, typename Call>
  absl::StatusOr<Response> Unary(const CallOptions& call_options, Call call) {
    const absl::Time deadline = absl::Now() + call_options.timeout;
    Cancellation never;
    Cancellation* cancellation = call_options.cancellation != nullptr ? call_options.cancellation : &never;
    Response response;
    absl::Status status = RunWithRetries(NewAttempts(call_options), deadline, *cancellation, [&](bool*) {
      grpc::ClientContext context;
      Prepare(deadline, &context);
      Cancellation::Registration registration(cancellation, &context);
      response.Clear();
      return Status(call(&context, &response), context);
    });
    if (!status.ok()) return status;
    return response;
  }

  // Summarize in up to two copies (hedge.cc).
  class HedgedSummary;
  absl::StatusOr<v1::SummarizeResponse> SummarizeHedged(const v1::SummarizeRequest& request, const CallOptions& call_options);

  const ConnectionOptions options;
  RetryBudget budget;
  HedgeBudget hedges;
  const std::unique_ptr<v1::Summarizer::Stub> summarizer;
  const std::unique_ptr<grpc::health::v1::Health::Stub> health;

  // What StartStream began.
  Cancellation streams;
  absl::Mutex mutex;
  int open_streams ABSL_GUARDED_BY(mutex) = 0;
};

}  // namespace precis::client

#endif  // PRECIS_CLIENT_INTERNAL_CLIENT_IMPL_H_
