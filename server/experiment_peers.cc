#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>

#include <thread>

#include "server/experiment_service.h"
#include "server/text.h"

namespace precis::server {
namespace {

constexpr absl::Duration kPatience = absl::Seconds(2);

void SetDeadline(grpc::ClientContext* context) { context->set_deadline(absl::ToChronoTime(absl::Now() + kPatience)); }

absl::Status FromWire(const grpc::Status& status) {
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
}

}  // namespace

ExperimentPeers::ExperimentPeers(const std::vector<std::string>& addresses) {
  for (const std::string& address : addresses) {
    grpc::ChannelArguments arguments;
    arguments.SetMaxReceiveMessageSize(64 << 20);
    stubs_.emplace_back(address, precis::v1::Experiments::NewStub(grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments)));
  }
}

std::vector<ExperimentResults> ExperimentPeers::Collect(const std::string& experiment, const std::string& fingerprint, std::vector<std::string>* found,
                                                        std::vector<std::string>* missing) const {
  std::vector<absl::StatusOr<ExperimentResults>> answers(stubs_.size(), absl::UnknownError(""));
  std::vector<std::thread> threads;
  for (size_t i = 0; i < stubs_.size(); ++i) {
    threads.emplace_back([&, i] {
      grpc::ClientContext context;
      SetDeadline(&context);
      precis::v1::GetStateRequest request;
      request.set_name(experiment);
      request.set_fingerprint(fingerprint);
      precis::v1::GetStateResponse response;
      const grpc::Status status = stubs_[i].second->GetState(&context, request, &response);
      if (!status.ok()) {
        answers[i] = FromWire(status);
      } else if (response.fingerprint() != fingerprint) {
        answers[i] = absl::FailedPreconditionError("its experiment of this name is another one");
      } else {
        answers[i] = ExperimentResults::Parse(response.state());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::vector<ExperimentResults> results;
  for (size_t i = 0; i < answers.size(); ++i) {
    if (answers[i].ok()) {
      results.push_back(*std::move(answers[i]));
      found->push_back(stubs_[i].first);
    } else {
      missing->push_back(StrCat(stubs_[i].first, ": ", answers[i].status().message()));
    }
  }
  return results;
}

absl::StatusOr<precis::v1::RecordOutcomeResponse> ExperimentPeers::Forward(const precis::v1::RecordOutcomeRequest& request) const {
  precis::v1::RecordOutcomeRequest forwarded = request;
  forwarded.set_forwarded(true);
  absl::Status unreachable;
  for (const auto& [address, stub] : stubs_) {
    grpc::ClientContext context;
    SetDeadline(&context);
    precis::v1::RecordOutcomeResponse response;
    const grpc::Status status = stub->RecordOutcome(&context, forwarded, &response);
    if (status.ok()) return response;
    if (status.error_code() != grpc::StatusCode::NOT_FOUND) unreachable = absl::UnavailableError(StrCat("peer ", address, ": ", status.error_message()));
  }
  if (!unreachable.ok()) return unreachable;
  return absl::NotFoundError(StrCat("request '", request.request_id(), "' is known neither here nor to a peer: it was in no experiment, or is too old"));
}

}  // namespace precis::server
