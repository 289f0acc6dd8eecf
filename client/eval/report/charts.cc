#include <algorithm>
#include <cctype>
#include <cmath>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/eval/report/efficiency.h"
#include "client/eval/report/writers.h"

namespace precis::eval {
namespace {

Interval IntervalOf(const Json& json) { return {json[0].get<double>(), json[1].get<double>()}; }

int ColorOf(const Scored& scored, const std::string& name) {
  for (const System& system : scored.systems) {
    if (system.name == name) return system.color;
  }
  return 0;
}

void AddQualityBars(const Scored& scored, const Json& results, std::vector<Chart>* charts) {
  for (const auto& [group, systems] : results["quality"].items()) {
    const int64_t n = systems.begin().value()["n"].get<int64_t>();
    std::string file = group;
    for (char& c : file) c = static_cast<char>(std::isalnum(static_cast<unsigned char>(c)) ? c : '_');
    Chart chart{.id = "quality_" + file, .title = absl::StrFormat("Quality%s (n = %d)", group == "all" ? "" : ", " + group, n), .y_label = "score"};
    for (const Metric& metric : Metrics()) {
      if (metric.better > 0) chart.categories.push_back(metric.label);
    }
    for (const System& system : scored.systems) {
      Series series{.name = system.name, .color = system.color};
      for (const Metric& metric : Metrics()) {
        if (metric.better <= 0) continue;
        const Json& found = systems[system.name]["metrics"][metric.key];
        series.points.push_back({0, found["value"].get<double>(), IntervalOf(found["interval"])});
      }
      chart.series.push_back(std::move(series));
    }
    charts->push_back(std::move(chart));
  }
}

Chart LengthChart(const Scored& scored, const Json& results, const char* key, const char* fit, const char* title, const char* label, Unit unit) {
  Chart chart{.id = key, .title = title, .x_label = "prompt tokens, logarithmic", .y_label = label, .y_unit = unit, .log_x = true, .log_y = true};
  for (const auto& [backend, lengths] : results["lengths"].items()) {
    std::string name = backend;
    if (!lengths[fit].is_null()) absl::StrAppendFormat(&name, " ~ n^%.2f", lengths[fit]["exponent"].get<double>());
    Series points{.name = name, .color = ColorOf(scored, backend)}, line{.color = points.color, .line = true, .marks = false, .dashed = true};
    for (const Json& point : lengths["points"]) points.points.push_back({point["prompt_tokens"].get<double>(), point[key].get<double>(), std::nullopt});
    if (!lengths[fit].is_null()) {
      const auto [low, high] = std::minmax_element(points.points.begin(), points.points.end(), [](const auto& a, const auto& b) { return a.x < b.x; });
      for (const double x : {low->x, high->x}) {
        line.points.push_back({x, lengths[fit]["factor"].get<double>() * std::pow(x, lengths[fit]["exponent"].get<double>()), std::nullopt});
      }
    }
    chart.series.push_back(std::move(points));
    if (!line.points.empty()) chart.series.push_back(std::move(line));
  }
  return chart;
}

// Each answer a point: where a variant is fast and lean it lies at the lower left.
Chart ScatterChart(const Study& study, const Scored& scored) {
  Chart chart{.id = "time_memory", .title = "Time against memory, a point for each document", .x_label = "attention workspace and KV cache, logarithmic", .y_label = "total time",
              .x_unit = Unit::kBytes, .y_unit = Unit::kSeconds, .log_x = true, .log_y = true};
  for (const std::string& backend : study.backends) {
    Series series{.name = backend, .color = ColorOf(scored, backend)};
    for (const Answer& answer : study.answers) {
      if (!answer.ok() || answer.cached || answer.backend != backend || answer.phase != "documents" || series.points.size() >= 400) continue;
      series.points.push_back({answer.Cost("attention_workspace_peak_bytes") + answer.Cost("kv_cache_peak_bytes"), answer.Cost("total_seconds"), std::nullopt});
    }
    if (!series.points.empty()) chart.series.push_back(std::move(series));
  }
  return chart;
}

Chart LatencyCdf(const Study& study, const Scored& scored, const char* key, const char* title) {
  Chart chart{.id = absl::StrCat("cdf_", key), .title = title, .x_label = "time, logarithmic", .y_label = "share answered within it", .x_unit = Unit::kSeconds, .y_unit = Unit::kPercent,
              .log_x = true, .y_max = 1};
  for (const std::string& backend : study.backends) {
    std::vector<double> values;
    for (const Answer& answer : study.answers) {
      if (answer.ok() && !answer.cached && answer.backend == backend && answer.phase == "documents") values.push_back(answer.Cost(key));
    }
    if (values.empty()) continue;
    std::sort(values.begin(), values.end());
    Series series{.name = absl::StrCat(backend, ", p50 ", FormatValue(Percentile(values, 50), Unit::kSeconds)), .color = ColorOf(scored, backend), .line = true, .marks = false};
    const size_t step = std::max<size_t>(1, values.size() / 200);
    for (size_t i = 0; i < values.size(); i += step) series.points.push_back({values[i], static_cast<double>(i + 1) / static_cast<double>(values.size()), std::nullopt});
    series.points.push_back({values.back(), 1, std::nullopt});
    chart.series.push_back(std::move(series));
  }
  return chart;
}

Chart CostBars(const Study& study, const Scored& scored, const Json& results, const char* id, const char* title, std::initializer_list<const char*> keys, Unit unit) {
  Chart chart{.id = id, .title = title, .y_label = "mean", .y_unit = unit};
  for (const Measure& measure : Measures()) {
    if (std::find_if(keys.begin(), keys.end(), [&](const char* key) { return std::string(key) == measure.key; }) != keys.end()) chart.categories.push_back(measure.label);
  }
  for (const std::string& backend : study.backends) {
    Series series{.name = backend, .color = ColorOf(scored, backend)};
    for (const Measure& measure : Measures()) {
      if (std::find_if(keys.begin(), keys.end(), [&](const char* key) { return std::string(key) == measure.key; }) == keys.end()) continue;
      const Json& efficiency = results["efficiency"][backend];
      if (!efficiency.contains(measure.key)) continue;
      series.points.push_back({0, efficiency[measure.key]["mean"].get<double>(), IntervalOf(efficiency[measure.key]["mean_interval"])});
    }
    if (series.points.size() == chart.categories.size()) chart.series.push_back(std::move(series));
  }
  return chart;
}

}  // namespace

std::vector<Chart> MakeCharts(const Study& study, const Scored& scored, const Json& results) {
  std::vector<Chart> charts;
  AddQualityBars(scored, results, &charts);
  charts.push_back(ScatterChart(study, scored));
  charts.push_back(CostBars(study, scored, results, "time_bars", "Time of a document", {"time_to_first_token_seconds", "total_seconds", "client_seconds"}, Unit::kSeconds));
  charts.push_back(CostBars(study, scored, results, "memory_bars", "Memory of a document", {"attention_workspace_bytes", "kv_cache_bytes"}, Unit::kBytes));
  charts.push_back(LatencyCdf(study, scored, "total_seconds", "Distribution of the total time"));
  charts.push_back(LatencyCdf(study, scored, "time_to_first_token_seconds", "Distribution of the time to the first token"));
  charts.push_back(LengthChart(scored, results, "prefill_seconds", "prefill_seconds_fit", "Prefill time over the document's length", "prefill, logarithmic", Unit::kSeconds));
  charts.push_back(LengthChart(scored, results, "attention_workspace_bytes", "attention_workspace_fit", "Attention workspace over the document's length", "workspace, logarithmic", Unit::kBytes));
  charts.push_back(LengthChart(scored, results, "kv_cache_bytes", "kv_cache_fit", "KV cache over the document's length", "KV cache, logarithmic", Unit::kBytes));
  std::erase_if(charts, [](const Chart& chart) { return chart.series.empty(); });
  return charts;
}

}  // namespace precis::eval
