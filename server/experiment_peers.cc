#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>

#include <set>
#include <thread>
#include <utility>

#include "server/experiment_service.h"
#include "server/text.h"

namespace precis::server {
namespace {

constexpr absl::Duration kPatience = absl::Seconds(2);

void SetDeadline(grpc::ClientContext* context) { context->set_deadline(absl::ToChronoTime(absl::Now() + kPatience)); }

absl::Status FromWire(const grpc::Status& status) {
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
}

absl::Status Take(const precis::v1::GetStateResponse& answer, const std::string& fingerprint, ExperimentPeers::Findings* out) {
  if (answer.fingerprint() != fingerprint) return absl::FailedPreconditionError("its experiment of this name is another one");
  absl::StatusOr<ExperimentResults> results = ExperimentResults::Parse(answer.state());
  if (!results.ok()) return results.status();
  out->results.push_back(*std::move(results));
  out->stops.insert(out->stops.end(), answer.stops().begin(), answer.stops().end());
  return absl::OkStatus();
}

}  // namespace

ExperimentPeers::ExperimentPeers(const std::vector<std::string>& addresses, std::string server_id) : server_id_(std::move(server_id)) {
  for (const std::string& address : addresses) {
    grpc::ChannelArguments arguments;
    arguments.SetMaxReceiveMessageSize(64 << 20);
    stubs_.emplace_back(address, precis::v1::Experiments::NewStub(grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments)));
  }
}

ExperimentPeers::Findings ExperimentPeers::Collect(const std::string& experiment, const std::string& fingerprint) const {
  std::vector<absl::StatusOr<precis::v1::GetStateResponse>> answers(stubs_.size(), absl::UnknownError(""));
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
      answers[i] = status.ok() ? absl::StatusOr<precis::v1::GetStateResponse>(std::move(response)) : FromWire(status);
    });
  }
  for (std::thread& thread : threads) thread.join();
  Findings out;
  std::set<std::string> seen = {server_id_};
  for (size_t i = 0; i < answers.size(); ++i) {
    absl::Status status = answers[i].status();
    if (status.ok() && !seen.insert(answers[i]->server_id()).second) continue;
    if (status.ok()) status = Take(*answers[i], fingerprint, &out);
    if (status.ok()) {
      out.found.push_back(stubs_[i].first);
    } else {
      out.missing.push_back(StrCat(stubs_[i].first, ": ", status.message()));
    }
  }
  return out;
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

PeerWatch::PeerWatch(ExperimentManager* experiments, const ExperimentPeers* peers) : experiments_(experiments), peers_(peers) {
  if (!peers->empty()) thread_ = std::thread([this] { Run(); });
}

PeerWatch::~PeerWatch() {
  {
    absl::MutexLock lock(&mutex_);
    stop_ = true;
  }
  if (thread_.joinable()) thread_.join();
}

void PeerWatch::Run() {
  const auto stopped = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return stop_; };
  while (true) {
    {
      absl::MutexLock lock(&mutex_);
      if (mutex_.AwaitWithTimeout(absl::Condition(&stopped), experiments_->check_interval())) return;
    }
    for (const Experiment& experiment : experiments_->snapshot()->experiments) {
      const std::string fingerprint = experiment.Fingerprint();
      ExperimentPeers::Findings findings = peers_->Collect(experiment.name, fingerprint);
      experiments_->tracker()->OnPeers(experiment.name, fingerprint, std::move(findings.results), findings.stops);
    }
  }
}

}  // namespace precis::server
