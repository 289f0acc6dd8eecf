#ifndef PRECIS_RUNTIME_TRAINING_METRICS_PORT_H_
#define PRECIS_RUNTIME_TRAINING_METRICS_PORT_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace precis::runtime {

// A run's Prometheus text over HTTP: GET /metrics answers with the file of that moment (empty before the first step). A part of the program precis-finetune and not
// of the library, which knows no network.
class MetricsPort {
 public:
  // `address` is host:port ([host]:port for IPv6); port 0 takes a free one. INVALID_ARGUMENT if it is something else, UNAVAILABLE if it can't be listened on.
  static absl::StatusOr<std::unique_ptr<MetricsPort>> Start(const std::string& address, std::string file);
  virtual ~MetricsPort() = default;  // stops and joins
  virtual std::string url() const = 0;
};

}  // namespace precis::runtime

#endif  // PRECIS_RUNTIME_TRAINING_METRICS_PORT_H_
