#include "server/experiment_service.h"

#include <map>
#include <set>
#include <utility>

#include "absl/time/clock.h"
#include "server/conversion.h"
#include "server/experiments/assignment.h"
#include "server/experiments/report.h"
#include "server/status_mapping.h"
#include "server/text.h"

namespace precis::server {
namespace {

constexpr int kMaxTraffic = 1'000'000;

// What a recorded request would get, as far as names go.
class Assigner {
 public:
  Assigner(const ExperimentConfig& config, const runtime::Catalog* catalog) : config_(config), catalog_(catalog) {}

  absl::StatusOr<AssignmentResult> Assign(const precis::v1::RecordedRequest& request, std::string* model) const {
    const auto choice = catalog_->Resolve(request.model(), request.attention_backend());
    if (!choice.ok()) return choice.status();
    *model = choice->model->name;
    AssignmentFacts facts;
    facts.unit_id = request.unit_id();
    facts.request_id = request.unit_id();
    facts.model = *model;
    facts.requested_backend = request.attention_backend();
    facts.now = request.unix_seconds() == 0 ? absl::Now() : absl::FromUnixSeconds(request.unix_seconds());
    facts.metadata = [&](const std::string& key) {
      const auto entry = request.metadata().find(key);
      return entry == request.metadata().end() ? std::string() : entry->second;
    };
    return AssignArm(config_, facts);
  }

 private:
  const ExperimentConfig& config_;
  const runtime::Catalog* const catalog_;
};

// Counts what recorded traffic would get, and which units would move.
absl::Status DryRun(const ExperimentConfig& config, const ExperimentConfig& running, const runtime::Catalog* catalog,
                    const precis::v1::ValidateExperimentsRequest& request, precis::v1::ValidateExperimentsResponse* response) {
  struct Tally {
    int64_t requests = 0;
    std::set<std::string> units, moved;
  };
  if (request.traffic_size() > kMaxTraffic) {
    return absl::InvalidArgumentError(StrCat(request.traffic_size(), " recorded requests given; at most ", kMaxTraffic, " are replayed in one call"));
  }
  std::map<std::tuple<std::string, std::string, std::string>, Tally> tallies;
  std::set<std::string> units;
  const Assigner ours(config, catalog), theirs(running, catalog);
  for (const precis::v1::RecordedRequest& recorded : request.traffic()) {
    std::string model;
    const absl::StatusOr<AssignmentResult> result = ours.Assign(recorded, &model), before = theirs.Assign(recorded, &model);
    units.insert(recorded.unit_id());
    if (!result.ok()) {
      ++tallies[{"", "", "refused"}].requests;
      continue;
    }
    const std::string arm = result->arm == nullptr ? "" : result->arm->name;
    Tally& tally = tallies[{result->experiment == nullptr ? "" : result->experiment->name, arm, std::string(AssignmentReasonName(result->reason))}];
    ++tally.requests;
    tally.units.insert(recorded.unit_id());
    if (before.ok() && before->arm != nullptr && result->arm != nullptr &&
        (before->experiment->name != result->experiment->name || before->arm->name != arm)) {
      tally.moved.insert(recorded.unit_id());
    }
  }
  response->set_units(static_cast<int64_t>(units.size()));
  for (const auto& [key, tally] : tallies) {
    precis::v1::ValidateExperimentsResponse::Count* count = response->add_counts();
    count->set_experiment(std::get<0>(key));
    count->set_arm(std::get<1>(key));
    count->set_reason(std::get<2>(key));
    count->set_requests(tally.requests);
    count->set_units(static_cast<int64_t>(tally.units.size()));
    count->set_moved(static_cast<int64_t>(tally.moved.size()));
  }
  return absl::OkStatus();
}

template <typename T>
absl::Status Take(absl::StatusOr<T> result, T* out) {
  if (result.ok()) *out = *std::move(result);
  return result.status();
}

}  // namespace

ExperimentService::ExperimentService(ServerCore* core)
    : core_(core), peers_(core->experiments->options(), core->experiments->server_id(), core->log), watch_(core->experiments, &peers_) {}

absl::Status ExperimentService::Begin(grpc::CallbackServerContext* context, Permission permission, const char* method, CallInfo* info) const {
  *info = ReadCallInfo(*context, method);
  AddCallMetadata(*info, context);
  const absl::Status status = core_->Authenticate(permission, info);
  if (!status.ok()) core_->metrics->OnRefused({"none", "none", "cpu"}, "auth");
  return status;
}

void ExperimentService::Log(const CallInfo& info, const absl::Status& status) const {
  core_->log->Log(LogLevel::kDebug, "request",
                  LogFields()
                      .Add("method", info.method)
                      .Add("request_id", info.request_id)
                      .AddIfSet("trace_id", info.trace_id())
                      .Add("peer", info.peer)
                      .AddIfSet("error", ToStd(status.message())));
}

grpc::ServerUnaryReactor* ExperimentService::Answer(grpc::CallbackServerContext* context, Permission permission, const char* method, Work work) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  CallInfo info;
  const absl::Status status = Begin(context, permission, method, &info);
  if (!status.ok()) {
    reactor->Finish(ToWireStatus(status, absl::ZeroDuration()).status);
    return reactor;
  }
  executor_.Post([this, reactor, info = std::move(info), work = std::move(work)] {
    const absl::Status done = work();
    Log(info, done);
    const WireStatus wire = ToWireStatus(done, absl::ZeroDuration());
    if (!wire.error_id.empty()) {
      core_->log->Log(LogLevel::kError, "request", LogFields().Add("method", info.method).Add("error_id", wire.error_id).Add("error", wire.detail));
    }
    reactor->Finish(wire.status);
  });
  return reactor;
}

grpc::ServerUnaryReactor* ExperimentService::ListExperiments(grpc::CallbackServerContext* context, const precis::v1::ListExperimentsRequest*,
                                                             precis::v1::ListExperimentsResponse* response) {
  return Answer(context, Permission::kExperiments, "ListExperiments", [this, response] {
    const auto config = core_->experiments->snapshot();
    response->set_config_generation(config->generation);
    for (const Experiment& experiment : config->experiments) {
      const absl::Status s = Take(core_->experiments->tracker()->Describe(experiment.name), response->add_experiments());
      if (!s.ok()) response->mutable_experiments()->RemoveLast();  // a reload came between
    }
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* ExperimentService::GetExperiment(grpc::CallbackServerContext* context, const precis::v1::GetExperimentRequest* request,
                                                           precis::v1::Experiment* response) {
  return Answer(context, Permission::kExperiments, "GetExperiment",
                [this, request, response] { return Take(core_->experiments->tracker()->Describe(request->name()), response); });
}

absl::StatusOr<precis::v1::Report> ExperimentService::Report(const std::string& experiment, bool local_only) const {
  ExperimentTracker* tracker = core_->experiments->tracker();
  if (local_only || peers_.empty()) return tracker->Report(experiment);
  const absl::StatusOr<precis::v1::Experiment> described = tracker->Describe(experiment);
  if (!described.ok()) return described.status();
  const ExperimentPeers::Findings others = peers_.Collect(experiment, described->fingerprint());
  absl::StatusOr<precis::v1::Report> report = tracker->Report(experiment, others.results);
  if (!report.ok()) return report;
  report->mutable_peers()->Add(others.found.begin(), others.found.end());
  report->mutable_missing_peers()->Add(others.missing.begin(), others.missing.end());
  return report;
}

grpc::ServerUnaryReactor* ExperimentService::GetReport(grpc::CallbackServerContext* context, const precis::v1::GetReportRequest* request,
                                                       precis::v1::Report* response) {
  return Answer(context, Permission::kExperiments, "GetReport",
                [this, request, response] { return Take(Report(request->name(), request->local_only()), response); });
}

grpc::ServerUnaryReactor* ExperimentService::RecordOutcome(grpc::CallbackServerContext* context, const precis::v1::RecordOutcomeRequest* request,
                                                           precis::v1::RecordOutcomeResponse* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  CallInfo info;
  const absl::Status admitted = Begin(context, Permission::kOutcomes, "RecordOutcome", &info);
  if (!admitted.ok()) {
    reactor->Finish(ToWireStatus(admitted, absl::ZeroDuration()).status);
    return reactor;
  }
  const auto finish = [this, reactor, response, request](absl::StatusOr<precis::v1::RecordOutcomeResponse> result) {
    if (result.ok() && result->counted() > 0 && !request->forwarded()) {
      for (const precis::v1::Outcome& outcome : request->outcomes()) core_->metrics->OnOutcome(result->experiment(), result->arm(), outcome.name());
    }
    const WireStatus wire = ToWireStatus(Take(std::move(result), response), absl::ZeroDuration());
    if (!wire.error_id.empty()) {
      core_->log->Log(LogLevel::kError, "request", LogFields().Add("method", "RecordOutcome").Add("error_id", wire.error_id).Add("error", wire.detail));
    }
    reactor->Finish(wire.status);
  };
  core_->experiments->tracker()->RecordOutcome(*request, [this, finish, request](absl::StatusOr<precis::v1::RecordOutcomeResponse> result) {
    if (!absl::IsNotFound(result.status()) || request->forwarded() || peers_.empty()) return finish(std::move(result));
    executor_.Post([this, finish, request] { finish(peers_.Forward(*request)); });
  });
  return reactor;
}

grpc::ServerUnaryReactor* ExperimentService::StopExperiment(grpc::CallbackServerContext* context, const precis::v1::StopExperimentRequest* request,
                                                            precis::v1::Experiment* response) {
  return Answer(context, Permission::kAdmin, "StopExperiment", [this, request, response] {
    ExperimentTracker* tracker = core_->experiments->tracker();
    const absl::Status s = tracker->Stop(request->name(), request->arm(), "operator", request->reason());
    return s.ok() ? Take(tracker->Describe(request->name()), response) : s;
  });
}

grpc::ServerUnaryReactor* ExperimentService::ReloadExperiments(grpc::CallbackServerContext* context, const precis::v1::ReloadExperimentsRequest*,
                                                               precis::v1::ReloadExperimentsResponse* response) {
  return Answer(context, Permission::kAdmin, "ReloadExperiments", [this, response] {
    const absl::StatusOr<bool> changed = core_->experiments->Reload();
    response->set_changed(changed.value_or(false));
    response->set_config_generation(core_->experiments->snapshot()->generation);
    return changed.status();
  });
}

grpc::ServerUnaryReactor* ExperimentService::ValidateExperiments(grpc::CallbackServerContext* context,
                                                                 const precis::v1::ValidateExperimentsRequest* request,
                                                                 precis::v1::ValidateExperimentsResponse* response) {
  return Answer(context, Permission::kExperiments, "ValidateExperiments", [this, request, response] {
    const std::string file = request->file_name().empty() ? "experiments" : request->file_name();
    const absl::StatusOr<ExperimentConfig> config = core_->experiments->Parse(request->yaml(), file);
    if (!config.ok()) return config.status();
    for (const Experiment& experiment : config->experiments) FillExperiment(experiment, 0, absl::Now(), response->add_experiments());
    if (request->traffic().empty()) return absl::OkStatus();
    if (absl::Status s = core_->CheckServing(); !s.ok()) return s;
    return DryRun(*config, *core_->experiments->snapshot(), &core_->engine.load()->catalog(), *request, response);
  });
}

grpc::ServerUnaryReactor* ExperimentService::Assign(grpc::CallbackServerContext* context, const precis::v1::AssignRequest* request,
                                                    precis::v1::AssignResponse* response) {
  return Answer(context, Permission::kExperiments, "Assign", [this, request, response] {
    if (absl::Status s = core_->CheckServing(); !s.ok()) return s;
    const auto config = core_->experiments->snapshot();
    const runtime::Catalog& catalog = core_->engine.load()->catalog();
    std::string model;
    absl::StatusOr<AssignmentResult> result = Assigner(*config, &catalog).Assign(request->request(), &model);
    if (!result.ok()) return result.status();
    std::string backend = request->request().attention_backend();
    precis::v1::Assignment* out = response->mutable_assignment();
    if (result->experiment != nullptr) out->set_experiment(result->experiment->name);
    if (result->arm != nullptr) {
      out->set_arm(result->arm->name);
      const std::string why = core_->experiments->tracker()->WhyStopped(*result->experiment, result->arm->name);
      if (why.empty()) {
        backend = result->arm->attention_backend;
        if (!result->arm->model.empty()) model = result->arm->model;
      } else {
        result->reason = AssignmentReason::kStopped;
        out->set_detail(why);
      }
    }
    const auto choice = catalog.Resolve(model, backend);
    if (!choice.ok()) result->reason = AssignmentReason::kFallback;
    out->set_reason(ToProto(result->reason));
    out->set_config_generation(config->generation);
    response->set_model(model);
    if (choice.ok()) response->set_attention_backend(std::string(choice->variant->name));
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* ExperimentService::GetState(grpc::CallbackServerContext* context, const precis::v1::GetStateRequest* request,
                                                      precis::v1::GetStateResponse* response) {
  return Answer(context, Permission::kExperiments, "GetState", [this, request, response] {
    ExperimentTracker* tracker = core_->experiments->tracker();
    const absl::StatusOr<precis::v1::Experiment> described = tracker->Describe(request->name());
    if (!described.ok()) return described.status();
    response->set_server_id(core_->experiments->server_id());
    response->set_fingerprint(described->fingerprint());
    if (described->fingerprint() != request->fingerprint()) return absl::OkStatus();
    const absl::StatusOr<ExperimentResults> results = tracker->Results(request->name());
    if (results.ok()) response->set_state(results->Serialize());
    for (precis::v1::Decision& stop : tracker->Stops(request->name())) *response->add_stops() = std::move(stop);
    return results.status();
  });
}

}  // namespace precis::server
