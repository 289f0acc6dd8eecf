#ifndef PRECIS_SERVER_METRICS_ENGINE_SERIES_H_
#define PRECIS_SERVER_METRICS_ENGINE_SERIES_H_

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "runtime/base/mutex.h"
#include "runtime/telemetry.h"
#include "server/metrics/families.h"

namespace precis::server {

// What the engine as a whole reports: steps, queue, memory. Thread-safe; Step and Gauges are called at every step.
//
// Invariant: the sum of a gauge over model and attention_backend is the engine's own number. What the engine does not
// attribute stands under "none".
class EngineSeries {
 public:
  explicit EngineSeries(Families* families);

  void Step(const runtime::StepEvent& event);
  void Gauges(const runtime::GaugeSnapshot& snapshot);
  void ModelLoaded(std::string_view model, std::string_view checkpoint, std::string_view device,
                   int64_t weights_bytes, int block_size, int64_t num_blocks);
  // A request of this backend held that much attention workspace.
  void WorkspacePeak(std::string_view model, std::string_view backend, int64_t bytes);

 private:
  struct PhaseSeries {
    Lazy<prometheus::Histogram> rows, tokens, duration;
  };
  // Gauges and attention time of one model and backend.
  struct BackendSeries {
    prometheus::Gauge* running = nullptr;
    prometheus::Gauge* waiting[runtime::kPriorities] = {};
    prometheus::Gauge* kv_bytes = nullptr;
    prometheus::Gauge* workspace_peak = nullptr;  // made by the first report
    Lazy<prometheus::Histogram> attention[2];     // by phase
    int64_t workspace_peak_bytes = 0;
    uint64_t seen = 0;  // the last snapshot that named it
  };
  // Compares names of either string type.
  struct NameLess {
    using is_transparent = void;
    template <typename A, typename B>
    bool operator()(const A& a, const B& b) const {
      using View = std::pair<std::string_view, std::string_view>;
      return View(a.first, a.second) < View(b.first, b.second);
    }
  };
  struct ProcessGauges {
    prometheus::Gauge *utilization, *weights, *pinned, *workspace, *activations, *kv_peak, *workspace_peak, *activations_peak;
  };

  void ObservePhase(int phase, bool mixed, int rows, int tokens);
  BackendSeries& Backend(std::string_view model, std::string_view backend) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void SetBackend(BackendSeries& series, const runtime::GaugeSnapshot::Share& share)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void RaiseWorkspace(std::string_view model, std::string_view backend, int64_t bytes)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  Families* const families_;
  PhaseSeries phases_[3][2];  // [prefill, decode, both][homogeneous, mixed]
  ProcessGauges process_;

  Mutex mutex_;
  std::map<std::pair<std::string, std::string>, BackendSeries, NameLess> backends_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, int64_t, std::less<>> weights_ ABSL_GUARDED_BY(mutex_);  // by model
  int64_t attributed_weights_ ABSL_GUARDED_BY(mutex_) = 0;
  std::string device_ ABSL_GUARDED_BY(mutex_) = "cpu";
  uint64_t snapshots_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace precis::server

#endif  // PRECIS_SERVER_METRICS_ENGINE_SERIES_H_
