#ifndef PRECIS_SERVER_PEER_CONNECTIONS_H_
#define PRECIS_SERVER_PEER_CONNECTIONS_H_

#include <grpcpp/client_context.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "precis/v1/experiments.grpc.pb.h"
#include "server/logger.h"
#include "server/options.h"
#include "server/tls_files.h"

namespace precis::server {

// INVALID_ARGUMENT if peers could not be asked as the options say: TLS or tokens of which half is missing, files that can't be used, a token that would
// leave this machine in plain text.
absl::Status CheckPeerOptions(const ServerOptions& options);

// Channels to the servers of --experiment-peer: plain text, TLS or mutual TLS, with a bearer token, as the options say. TLS files and token are read again
// when they change; what can't be used leaves the old ones, and the log says so once. Thread-safe.
class PeerConnections {
 public:
  struct Peer {
    std::string address;
    std::unique_ptr<precis::v1::Experiments::Stub> stub;
  };
  using Peers = std::vector<Peer>;

  // `log` outlives the connections.
  PeerConnections(const ServerOptions& options, Logger* log);

  bool empty() const { return options_.experiment_peers.empty(); }
  // With the credentials that the files hold now; who holds older ones may go on with them.
  std::shared_ptr<const Peers> peers() const;
  // Adds the token, if there is one.
  void Prepare(grpc::ClientContext* context) const;

 private:
  std::shared_ptr<const Peers> Connect(const TlsMaterial& material) const;

  const ServerOptions options_;
  Logger* const log_;
  mutable TlsWatcher watcher_;
  mutable absl::Mutex mutex_;
  mutable std::shared_ptr<const Peers> peers_ ABSL_GUARDED_BY(mutex_);
  mutable std::string token_ ABSL_GUARDED_BY(mutex_);
  mutable std::string token_error_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace precis::server

#endif  // PRECIS_SERVER_PEER_CONNECTIONS_H_
