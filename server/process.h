#ifndef PRECIS_SERVER_PROCESS_H_
#define PRECIS_SERVER_PROCESS_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "runtime/engine.h"
#include "server/metrics/http_server.h"
#include "server/metrics/metrics.h"
#include "server/options.h"

namespace precis::server {

// The whole server but for main's signals: listens early, then loads, warms up and serves, then drains.
//
//   auto server = Server::Start(configuration, metrics, logger);   // listens; everything is answered with UNAVAILABLE
//   (*server)->Load(engine_factory);                               // loads, warms up; then ready
//   (*server)->Drain();                                            // as after SIGTERM; returns when all is done
//
// Thread-safe. Metrics and logger outlive the server.
class Server {
 public:
  using EngineFactory = std::function<absl::StatusOr<std::unique_ptr<runtime::Engine>>()>;

  // UNAVAILABLE if an address can't be bound.
  static absl::StatusOr<std::unique_ptr<Server>> Start(const Configuration& configuration, Metrics* metrics,
                                                       Logger* log);
  // Stops at once if Drain wasn't called.
  virtual ~Server() = default;

  // Fails if the factory does, or if the warm-up request of a checkpoint fails.
  virtual absl::Status Load(const EngineFactory& factory) = 0;
  // Not ready -> drain_delay -> refuse new -> wait for requests in flight, at most drain_timeout -> stop.
  virtual void Drain() = 0;
  // Reads the experiments again, if they come from a file; a bad file is logged and changes nothing.
  virtual void ReloadExperiments() = 0;

  virtual bool ready() const = 0;
  virtual std::string address() const = 0;          // "127.0.0.1:50051"
  virtual std::string metrics_address() const = 0;  // "http://127.0.0.1:9464/", or empty
};

// Loads the catalog that the options name and creates the engine.
absl::StatusOr<std::unique_ptr<runtime::Engine>> CreateEngine(const ServerOptions& options,
                                                              runtime::Telemetry* telemetry);

}  // namespace precis::server

#endif  // PRECIS_SERVER_PROCESS_H_
