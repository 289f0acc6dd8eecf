#ifndef PRECIS_SERVER_METRICS_HTTP_SERVER_H_
#define PRECIS_SERVER_METRICS_HTTP_SERVER_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/metrics/metrics.h"

namespace precis::server {

// The metrics port: /metrics, /healthz (200 while the process lives), /readyz (200 or 503), / (the status page) and
// /status.json (what the page draws). Thread-safe.
class HttpServer {
 public:
  struct Callbacks {
    std::function<bool()> ready;
    std::function<std::string()> status_json;  // server facts for the page: models, options, experiments; a JSON object
  };
  // `address` is host:port; port 0 takes a free one. UNAVAILABLE if it can't be bound.
  static absl::StatusOr<std::unique_ptr<HttpServer>> Start(const std::string& address, Metrics* metrics,
                                                           Callbacks callbacks);
  virtual ~HttpServer() = default;  // stops and joins
  virtual int port() const = 0;
};

}  // namespace precis::server

#endif  // PRECIS_SERVER_METRICS_HTTP_SERVER_H_
