#ifndef PRECIS_SERVER_SERVER_CORE_H_
#define PRECIS_SERVER_SERVER_CORE_H_

#include <atomic>

#include "absl/status/status.h"
#include "runtime/engine.h"
#include "server/auth.h"
#include "server/call_info.h"
#include "server/executor.h"
#include "server/experiment_manager.h"
#include "server/load_report.h"
#include "server/logger.h"
#include "server/metrics/metrics.h"
#include "server/shadow.h"

namespace precis::server {

// What all calls share. Pointers are not owned and outlive the gRPC server.
struct ServerCore {
  struct Limits {
    int64_t max_document_bytes = int64_t{1} << 20;
    int many_in_flight = 64;
    int max_tokenising = 1024;  // large documents that wait for a thread
    bool log_documents = false;
  };

  ServerCore(Metrics* metrics, Logger* log, ExperimentManager* experiments, Authenticator* authenticator, Limits limits)
      : metrics(metrics), log(log), experiments(experiments), authenticator(authenticator), limits(limits) {}

  // UNAUTHENTICATED without a known token, PERMISSION_DENIED if it doesn't allow this. Sets info->grant.
  absl::Status Authenticate(Permission permission, CallInfo* info) const;
  // UNAVAILABLE while loading or draining.
  absl::Status CheckServing() const;

  Metrics* const metrics;
  Logger* const log;
  ExperimentManager* const experiments;
  Authenticator* const authenticator;  // may be null: no tokens are asked for
  const Limits limits;

  std::atomic<runtime::Engine*> engine{nullptr};  // null while loading
  std::atomic<bool> refusing{false};              // draining
  LoadReporter load;
  ShadowRunner shadow{experiments->tracker(), metrics};

  // Answers are written from here, so that the engine thread only queues.
  Executor delivery{1};
  // Large documents are tokenised here, so that they don't hold up gRPC's threads.
  Executor edge{2};
};

}  // namespace precis::server

#endif  // PRECIS_SERVER_SERVER_CORE_H_
