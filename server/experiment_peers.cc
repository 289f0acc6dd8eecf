#include <grpcpp/client_context.h>

#include <set>
#include <thread>
#include <utility>

#include "server/experiment_service.h"
#include "server/text.h"

namespace precis::server {
namespace {

constexpr absl::Duration kPatience = absl::Seconds(2);

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

ExperimentPeers::ExperimentPeers(const ServerOptions& options, std::string server_id, Logger* log)
    : connections_(options, log), server_id_(std::move(server_id)) {}

void ExperimentPeers::Prepare(grpc::ClientContext* context) const {
  context->set_deadline(absl::ToChronoTime(absl::Now() + kPatience));
  connections_.Prepare(context);
}

ExperimentPeers::Findings ExperimentPeers::Collect(const std::string& experiment, const std::string& fingerprint) const {
  const auto peers = connections_.peers();
  std::vector<absl::StatusOr<precis::v1::GetStateResponse>> answers(peers->size(), absl::UnknownError(""));
  std::vector<std::thread> threads;
  threads.reserve(peers->size());
  for (size_t i = 0; i < peers->size(); ++i) {
    threads.emplace_back([&, i] {
      grpc::ClientContext context;
      Prepare(&context);
      precis::v1::GetStateRequest request;
      request.set_name(experiment);
      request.set_fingerprint(fingerprint);
      precis::v1::GetStateResponse response;
      const grpc::Status status = (*peers)[i].stub->GetState(&context, request, &response);
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
    const std::string& address = (*peers)[i].address;
    if (status.ok()) {
      out.found.push_back(address);
    } else {
      out.missing.push_back(StrCat(address, ": ", status.message()));
    }
  }
  return out;
}

absl::StatusOr<precis::v1::RecordOutcomeResponse> ExperimentPeers::Forward(const precis::v1::RecordOutcomeRequest& request) const {
  precis::v1::RecordOutcomeRequest forwarded = request;
  forwarded.set_forwarded(true);
  absl::Status unreachable;
  const auto peers = connections_.peers();
  for (const auto& [address, stub] : *peers) {
    grpc::ClientContext context;
    Prepare(&context);
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
