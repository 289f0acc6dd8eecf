#ifndef PRECIS_SERVER_METRICS_HTTP_SERVER_H_
#define PRECIS_SERVER_METRICS_HTTP_SERVER_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/metrics/metrics.h"

namespace precis::server {

// The metrics port: /metrics, /healthz (200 while the process lives), /readyz (200 or 503), / (the status page),
// /status.json (what the page draws), /experiments and /experiments.json (the same for experiments). Thread-safe.
class HttpServer {
 public:
  struct Callbacks {
    std::function<bool()> ready;
    // Server facts for the page, a JSON object. Every member is optional, others are ignored:
    //   {"version": "", "commit": "", "uptime_seconds": 0,
    //    "models": [{"name": "", "checkpoint": "", "device": "", "weights": "bf16", "weights_bytes": 0, "parameters": 0,
    //                "context_tokens": 0, "attention_backends": [""]}],   one for each checkpoint
    //    "experiments": [{"name": "", "arms": [{"name": "", "attention_backend": "", "weight": 1}]}],
    //    "options": {"name": "value"}}
    std::function<std::string()> status_json;
    // What experiments found: a JSON list of precis.v1.Report, by field names. May be null: an empty list.
    std::function<std::string()> experiments_json;
  };
  // `address` is host:port; port 0 takes a free one. UNAVAILABLE if it can't be bound.
  static absl::StatusOr<std::unique_ptr<HttpServer>> Start(const std::string& address, Metrics* metrics,
                                                           Callbacks callbacks);
  virtual ~HttpServer() = default;  // stops and joins
  virtual int port() const = 0;
  // Serves a connected stream socket on the caller's thread, within the limits of any connection, and closes it.
  virtual void Serve(int socket) = 0;
};

}  // namespace precis::server

#endif  // PRECIS_SERVER_METRICS_HTTP_SERVER_H_
