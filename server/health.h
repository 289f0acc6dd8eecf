#ifndef PRECIS_SERVER_HEALTH_H_
#define PRECIS_SERVER_HEALTH_H_

#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/synchronization/mutex.h"
#include "grpc/health/v1/health.grpc.pb.h"

namespace precis::server {

// grpc.health.v1 for the services "" and "precis.v1.Summarizer", which have one status. Needs no token, so that probes work. Thread-safe.
// gRPC's own health service is not used: its messages are not in the descriptor pool that server reflection reads, and it
// would take the service's name.
class HealthService final : public grpc::health::v1::Health::CallbackService {
 public:
  // NOT_SERVING until told otherwise. Watchers hear of it at once.
  void SetServing(bool serving);
  bool serving() const;
  // NOT_SERVING for good; ends the watches, which else would hold up the server's shutdown.
  void Shutdown();

  grpc::ServerUnaryReactor* Check(grpc::CallbackServerContext* context,
                                  const grpc::health::v1::HealthCheckRequest* request,
                                  grpc::health::v1::HealthCheckResponse* response) override;
  grpc::ServerWriteReactor<grpc::health::v1::HealthCheckResponse>* Watch(
      grpc::CallbackServerContext* context, const grpc::health::v1::HealthCheckRequest* request) override;

 private:
  class Watcher;

  mutable absl::Mutex mutex_;
  bool serving_ ABSL_GUARDED_BY(mutex_) = false;
  bool shut_down_ ABSL_GUARDED_BY(mutex_) = false;
  absl::flat_hash_set<Watcher*> watchers_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace precis::server

#endif  // PRECIS_SERVER_HEALTH_H_
