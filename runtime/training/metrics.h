#ifndef PRECIS_RUNTIME_TRAINING_METRICS_H_
#define PRECIS_RUNTIME_TRAINING_METRICS_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace precis::runtime {

// Numbers of one step by name, such as ("train/loss", 3.2).
using Scalars = std::vector<std::pair<std::string, double>>;

// TensorBoard's event file: length-prefixed records with masked CRC-32C (TFRecord) of Event messages. `wall_time` in seconds.
std::string EventFileHeader(double wall_time);
std::string EventRecord(double wall_time, int64_t step, const Scalars& scalars);
uint32_t Crc32c(std::string_view bytes);

// Prometheus' text format, gauges "precis_train_<name>".
std::string PrometheusText(int64_t step, const Scalars& scalars);

// A curve of a loss over steps.
struct Curve {
  std::string name;
  std::vector<std::pair<int64_t, double>> points;
};
std::string CurvesSvg(std::string_view title, const std::vector<Curve>& curves);

// The metrics of a run, in its folder: metrics.jsonl (a line a step, the source of the others), events/events.out.tfevents.<time>.precis, metrics.prom (the newest value of
// each: held-out losses stay between evaluations) and loss.svg.
// Not thread-safe.
class MetricsFiles {
 public:
  // Keeps the lines of earlier steps, up to `last_step`; drops later ones, which a resumed run writes again.
  static absl::StatusOr<MetricsFiles> Open(const std::string& out, int64_t last_step);

  // Appends a step; a crash loses at most the line that was being written.
  absl::Status Add(int64_t step, const Scalars& scalars);
  absl::Status WriteCurves() const;

 private:
  explicit MetricsFiles(std::string out) : out_(std::move(out)) {}
  void Remember(int64_t step, std::string_view name, double value);
  void KeepNewest(std::string_view name, double value);

  std::string out_, events_path_;
  std::vector<Curve> curves_;
  Scalars newest_;
};

}  // namespace precis::runtime

#endif  // PRECIS_RUNTIME_TRAINING_METRICS_H_
