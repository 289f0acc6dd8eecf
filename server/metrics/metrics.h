#ifndef PRECIS_SERVER_METRICS_METRICS_H_
#define PRECIS_SERVER_METRICS_METRICS_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/time/time.h"
#include "kernels/gpu/nvml.h"
#include "precis/v1/experiments.pb.h"
#include "runtime/telemetry.h"

namespace precis::server {

// What the server counts: the engine's telemetry and the service's own events, in one Prometheus registry.
// Thread-safe. Names, types, help and buckets are in metric_names.h, the only list.
class Metrics : public runtime::Telemetry {
 public:
  struct BuildInfo {
    std::string version, commit, compiler, isa;
  };
  // Past `max_label_sets` distinct sets of request labels, new ones are counted under "other".
  static std::unique_ptr<Metrics> Create(const BuildInfo& build, size_t max_label_sets = 1000);
  ~Metrics() override = default;

  // Every call of Summarize, StreamSummarize and every request of SummarizeMany, whatever became of it.
  // `labels` holds what was known ("none" for what was not). `duration` is for the gen_ai duration histogram; error_type is empty for OK.
  virtual void OnRpcFinished(const runtime::RequestLabels& labels, std::string_view grpc_code,
                             std::string_view finish_reason, absl::Duration duration) = 0;
  // Refusals that never reach the engine: reason "auth" or "quota".
  virtual void OnRefused(const runtime::RequestLabels& labels, std::string_view reason) = 0;
  virtual void OnAssignment(std::string_view experiment, std::string_view arm, std::string_view reason) = 0;
  // A checkpoint is loaded (cache_config_info, memory_bytes kind=weights).
  virtual void OnModelLoaded(std::string_view model, std::string_view checkpoint, std::string_view device,
                             int64_t weights_bytes, int block_size, int64_t num_blocks) = 0;
  // What the driver says of the GPU that the models are on.
  virtual void OnGpu(std::string_view uuid, const kernels::NvmlSample& sample) {}
  virtual void SetReady(bool ready) = 0;
  virtual void SetDraining(bool draining) = 0;
  virtual void SetConfigGeneration(uint64_t generation) = 0;

  // Of experiments. What a report says, as gauges; gauges of experiments that are gone stay at their last value.
  virtual void OnExperimentReport(const precis::v1::Report& report) {}
  // An arm ("all": the experiment) was stopped by a guardrail, or by the operator.
  virtual void OnExperimentStopped(std::string_view experiment, std::string_view arm, std::string_view guardrail) {}
  virtual void OnExperimentsReload(std::string_view result) {}  // "taken" or "refused"
  virtual void OnOutcome(std::string_view experiment, std::string_view arm, std::string_view outcome) {}
  // result: "identical", "different", "dropped" or "failed"; the last two have no numbers.
  virtual void OnShadowPair(std::string_view experiment, std::string_view arm, std::string_view result, double token_agreement, int first_divergence) {}

  // The registry in Prometheus' text format 0.0.4.
  virtual std::string Serialize() const = 0;
};

}  // namespace precis::server

#endif  // PRECIS_SERVER_METRICS_METRICS_H_
