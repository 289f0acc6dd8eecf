#include "runtime/training/metrics.h"

#include <chrono>
#include <cmath>
#include <fstream>

#include "nlohmann/json.hpp"
#include "runtime/model/status_macros.h"
#include "runtime/model/text.h"
#include "runtime/training/files.h"

namespace precis::runtime {
namespace {

double Now() { return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count(); }

absl::Status Append(const std::string& path, const std::string& bytes) {
  std::ofstream file(path, std::ios::binary | std::ios::app);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  file.close();
  if (!file) return absl::ResourceExhaustedError(Cat(path, ": cannot be written (is the disk full?)"));
  return absl::OkStatus();
}

// What is drawn.
bool IsLoss(std::string_view name) { return name == "train/loss" || name == "eval/loss"; }

}  // namespace

absl::StatusOr<MetricsFiles> MetricsFiles::Open(const std::string& out, int64_t last_step) {
  MetricsFiles files(out);
  PRECIS_TRY(MakeDirectories(out + "/events"));
  std::ifstream old(out + "/metrics.jsonl");
  std::string kept, line;
  while (last_step > 0 && std::getline(old, line)) {
    const nlohmann::json row = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!row.is_object() || !row.contains("step") || !row["step"].is_number_integer() || row["step"].get<int64_t>() > last_step) continue;
    for (const auto& [name, value] : row.items()) {
      if (!value.is_number() || name == "step") continue;
      files.KeepNewest(name, value.get<double>());
      if (IsLoss(name)) files.Remember(row["step"].get<int64_t>(), name, value.get<double>());
    }
    kept += line + "\n";
  }
  PRECIS_TRY(ReplaceFile(out + "/metrics.jsonl", kept));
  files.events_path_ = Cat(out, "/events/events.out.tfevents.", static_cast<int64_t>(Now() * 1000), ".precis");
  PRECIS_TRY(WriteFile(files.events_path_, EventFileHeader(Now())));
  return files;
}

void MetricsFiles::Remember(int64_t step, std::string_view name, double value) {
  for (Curve& curve : curves_) {
    if (curve.name == name) return curve.points.emplace_back(step, value), void();
  }
  curves_.push_back({std::string(name), {{step, value}}});
}

void MetricsFiles::KeepNewest(std::string_view name, double value) {
  for (auto& [known, newest] : newest_) {
    if (known == name) return newest = value, void();
  }
  newest_.emplace_back(name, value);
}

absl::Status MetricsFiles::Add(int64_t step, const Scalars& scalars) {
  nlohmann::ordered_json row = {{"step", step}};
  for (const auto& [name, value] : scalars) {
    row[name] = value;  // NaN and infinity become null
    KeepNewest(name, value);
    if (IsLoss(name)) Remember(step, name, value);
  }
  PRECIS_TRY(Append(out_ + "/metrics.jsonl", row.dump() + "\n"));
  PRECIS_TRY(Append(events_path_, EventRecord(Now(), step, scalars)));
  return ReplaceFile(out_ + "/metrics.prom", PrometheusText(step, newest_), false);
}

absl::Status MetricsFiles::WriteCurves() const { return ReplaceFile(out_ + "/loss.svg", CurvesSvg("loss by step", curves_), false); }

}  // namespace precis::runtime
