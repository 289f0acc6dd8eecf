#ifndef PRECIS_SERVER_EXPERIMENT_SERVICE_H_
#define PRECIS_SERVER_EXPERIMENT_SERVICE_H_

#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "precis/v1/experiments.grpc.pb.h"
#include "server/peer_connections.h"
#include "server/server_core.h"

namespace precis::server {

// Where experiments on several servers come together: reports merge what peers found, outcomes of requests that a peer served go there.
// Thread-safe; calls wait for at most two seconds for each peer, all at once.
class ExperimentPeers {
 public:
  // The servers of --experiment-peer. `server_id` is this server's: it may be among them, and leaves itself out. `log` outlives the object.
  ExperimentPeers(const ServerOptions& options, std::string server_id, Logger* log);

  struct Findings {
    std::vector<ExperimentResults> results;  // each server's once, however many addresses it has
    std::vector<precis::v1::Decision> stops;
    std::vector<std::string> found;    // addresses
    std::vector<std::string> missing;  // "address: why"
  };
  // What the peers found of the experiment with this fingerprint.
  Findings Collect(const std::string& experiment, const std::string& fingerprint) const;
  // The first answer that is not NOT_FOUND; NOT_FOUND if no peer knows the request.
  absl::StatusOr<precis::v1::RecordOutcomeResponse> Forward(const precis::v1::RecordOutcomeRequest& request) const;
  bool empty() const { return connections_.empty(); }

 private:
  void Prepare(grpc::ClientContext* context) const;

  const PeerConnections connections_;
  const std::string server_id_;
};

// Brings to the tracker, every check interval, what peers found and stopped. Has a thread if there are peers.
class PeerWatch {
 public:
  // Both outlive it.
  PeerWatch(ExperimentManager* experiments, const ExperimentPeers* peers);
  ~PeerWatch();

 private:
  void Run();

  ExperimentManager* const experiments_;
  const ExperimentPeers* const peers_;
  absl::Mutex mutex_;
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

// precis.v1.Experiments. Work is done on two threads of its own, so that reports don't hold up gRPC's. Thread-safe.
class ExperimentService final : public precis::v1::Experiments::CallbackService {
 public:
  // `core` outlives the service.
  explicit ExperimentService(ServerCore* core);

  grpc::ServerUnaryReactor* ListExperiments(grpc::CallbackServerContext*, const precis::v1::ListExperimentsRequest*,
                                            precis::v1::ListExperimentsResponse*) override;
  grpc::ServerUnaryReactor* GetExperiment(grpc::CallbackServerContext*, const precis::v1::GetExperimentRequest*, precis::v1::Experiment*) override;
  grpc::ServerUnaryReactor* GetReport(grpc::CallbackServerContext*, const precis::v1::GetReportRequest*, precis::v1::Report*) override;
  grpc::ServerUnaryReactor* RecordOutcome(grpc::CallbackServerContext*, const precis::v1::RecordOutcomeRequest*,
                                          precis::v1::RecordOutcomeResponse*) override;
  grpc::ServerUnaryReactor* StopExperiment(grpc::CallbackServerContext*, const precis::v1::StopExperimentRequest*, precis::v1::Experiment*) override;
  grpc::ServerUnaryReactor* ReloadExperiments(grpc::CallbackServerContext*, const precis::v1::ReloadExperimentsRequest*,
                                              precis::v1::ReloadExperimentsResponse*) override;
  grpc::ServerUnaryReactor* ValidateExperiments(grpc::CallbackServerContext*, const precis::v1::ValidateExperimentsRequest*,
                                                precis::v1::ValidateExperimentsResponse*) override;
  grpc::ServerUnaryReactor* Assign(grpc::CallbackServerContext*, const precis::v1::AssignRequest*, precis::v1::AssignResponse*) override;
  grpc::ServerUnaryReactor* GetState(grpc::CallbackServerContext*, const precis::v1::GetStateRequest*, precis::v1::GetStateResponse*) override;

  // The report of one experiment, over this server and its peers unless `local_only`.
  absl::StatusOr<precis::v1::Report> Report(const std::string& experiment, bool local_only) const;

 private:
  using Work = std::function<absl::Status()>;
  // Checks the token, then runs `work` on a thread of the service and finishes the call with its status.
  grpc::ServerUnaryReactor* Answer(grpc::CallbackServerContext* context, Permission permission, const char* method, Work work);
  absl::Status Begin(grpc::CallbackServerContext* context, Permission permission, const char* method, CallInfo* info) const;
  void Log(const CallInfo& info, const absl::Status& status) const;

  ServerCore* const core_;
  const ExperimentPeers peers_;
  PeerWatch watch_;
  Executor executor_{2};
};

}  // namespace precis::server

#endif  // PRECIS_SERVER_EXPERIMENT_SERVICE_H_
