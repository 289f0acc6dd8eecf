#include <algorithm>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/eval/report/efficiency.h"
#include "client/eval/report/writers.h"

namespace precis::eval {
namespace {

std::string WithInterval(double value, const Json& interval, const char* format) {
  const auto one = [&](double number) {
    char text[64];
    std::snprintf(text, sizeof(text), format, number);
    return std::string(text);
  };
  return absl::StrCat(one(value), " [", one(interval[0].get<double>()), ", ", one(interval[1].get<double>()), "]");
}

std::string PText(double p) { return p < 0.001 ? "< 0.001" : absl::StrFormat("%.3f", p); }

void AddQualityTables(const Json& results, std::vector<TextTable>* tables) {
  for (const auto& [group, systems] : results["quality"].items()) {
    const int64_t n = systems.begin().value()["n"].get<int64_t>();
    const std::string of = group == "all" ? "" : absl::StrCat(", ", group);
    TextTable overlap{.caption = absl::StrFormat("Quality%s: n = %d documents, mean F (ROUGE, 0 to 100) or corpus score, [95%% interval]", of, n), .header = {"system"}};
    TextTable style{.caption = absl::StrFormat("Style and faithfulness%s: n = %d documents, [95%% interval]", of, n), .header = {"system"}};
    bool no_names = false;
    const auto is_overlap = [](const Metric& metric) { return metric.better > 0; };
    for (const Metric& metric : Metrics()) (is_overlap(metric) ? overlap : style).header.push_back(metric.label);
    for (const auto& [name, scores] : systems.items()) {
      std::vector<std::string> row = {name}, style_row = {name};
      for (const Metric& metric : Metrics()) {
        const Json& found = scores["metrics"][metric.key];
        (is_overlap(metric) ? row : style_row).push_back(found["value"].is_null() ? "none found" : WithInterval(found["value"].get<double>(), found["interval"], "%.2f"));
        no_names = no_names || (found["value"].is_null() && std::string_view(metric.key) == "names_unsupported");
      }
      overlap.rows.push_back(std::move(row));
      style.rows.push_back(std::move(style_row));
    }
    if (no_names) absl::StrAppend(&style.caption, "; names are recognised by their capital letters, so none are found in lower-case text");
    tables->push_back(std::move(overlap));
    tables->push_back(std::move(style));
  }
}

// A row for each pair of systems, a column for each metric.
void AddComparisonTables(const Json& results, std::vector<TextTable>* tables) {
  std::map<std::string, TextTable> by_group;
  std::vector<std::string> order;
  for (const Json& comparison : results["comparisons"]) {
    const std::string group = comparison["group"], key = comparison["metric"], a = comparison["a"], b = comparison["b"];
    const auto metric = std::find_if(Metrics().begin(), Metrics().end(), [&](const Metric& m) { return key == m.key; });
    TextTable& table = by_group[group];
    if (table.header.empty()) {
      order.push_back(group);
      table.caption = absl::StrFormat("Paired differences%s on the same %d documents: a - b [95%% interval], * where p < 0.05 after Holm's correction over the pairs",
                                      group == "all" ? "" : ", " + group, comparison["n"].get<int64_t>());
      table.header = {"a", "b"};
    }
    if (std::find(table.header.begin(), table.header.end(), metric->label) == table.header.end()) table.header.push_back(metric->label);
    auto row = std::find_if(table.rows.begin(), table.rows.end(), [&](const auto& cells) { return cells[0] == a && cells[1] == b; });
    if (row == table.rows.end()) row = table.rows.insert(row, {a, b});
    row->push_back(WithInterval(comparison["difference"].get<double>(), comparison["interval"], "%+.2f") + (comparison["p_holm"].get<double>() < 0.05 ? " *" : ""));
  }
  for (const std::string& group : order) tables->push_back(by_group[group]);
}

void AddEfficiencyTables(const Json& results, std::vector<TextTable>* tables) {
  TextTable table{.caption = "Cost of a document by the server's accounting", .header = {"measure", "backend", "n", "mean [95%]", "p50 [95%]", "p95 [95%]", "p99"}};
  for (const Measure& measure : Measures()) {
    for (const auto& [backend, json] : results["efficiency"].items()) {
      if (!json.contains(measure.key)) continue;
      const Json& found = json[measure.key];
      const auto show = [&](const Json& value) { return FormatValue(value.get<double>(), measure.unit); };
      const auto with_interval = [&](const char* name, const char* interval) {
        return absl::StrCat(show(found[name]), " [", show(found[interval][0]), ", ", show(found[interval][1]), "]");
      };
      table.rows.push_back({measure.label, backend, absl::StrCat(found["n"].get<int64_t>()), with_interval("mean", "mean_interval"), with_interval("p50", "p50_interval"),
                            with_interval("p95", "p95_interval"), show(found["p99"])});
    }
  }
  if (!table.rows.empty()) tables->push_back(std::move(table));
  TextTable throughput{.caption = "Throughput at the fixed concurrency, one backend at a time", .header = {"backend", "blocks", "new tokens/s [95%]", "documents/s [95%]"}};
  for (const auto& [backend, json] : results["efficiency"].items()) {
    if (!json.contains("throughput") || json["throughput"].is_null()) continue;
    const Json& found = json["throughput"];
    throughput.rows.push_back({backend, absl::StrCat(found["blocks"].get<int64_t>()),
                               WithInterval(found["tokens_per_second"].get<double>(), found["tokens_per_second_interval"], "%.1f"),
                               WithInterval(found["documents_per_second"].get<double>(), found["documents_per_second_interval"], "%.2f")});
  }
  if (!throughput.rows.empty()) tables->push_back(std::move(throughput));
}

void AddEfficiencyComparisons(const Json& results, std::vector<TextTable>* tables) {
  TextTable table{.caption = "Paired comparisons of cost on the same documents", .header = {"a", "b", "measure", "n", "a / b", "a - b [95%]", "p (Holm)"}};
  for (const Json& comparison : results["efficiency_comparisons"]) {
    const std::string key = comparison["measure"];
    const auto measure = std::find_if(Measures().begin(), Measures().end(), [&](const Measure& m) { return key == m.key; });
    const auto show = [&](const Json& value) { return FormatValue(value.get<double>(), measure->unit); };
    table.rows.push_back({comparison["a"], comparison["b"], measure->label, absl::StrCat(comparison["n"].get<int64_t>()),
                          comparison["ratio"].is_null() ? "" : absl::StrFormat("%.3f", comparison["ratio"].get<double>()),
                          absl::StrCat(show(comparison["difference"]), " [", show(comparison["interval"][0]), ", ", show(comparison["interval"][1]), "]"),
                          PText(comparison["p_holm"].get<double>())});
  }
  if (!table.rows.empty()) tables->push_back(std::move(table));
}

void AddLengthTable(const Json& results, std::vector<TextTable>* tables) {
  TextTable table{.caption = "Growth with the document: y ~ tokens^exponent, least squares of logarithms [95% interval]",
                  .header = {"backend", "n", "prefill time", "attention workspace", "KV cache"}};
  for (const auto& [backend, json] : results["lengths"].items()) {
    std::vector<std::string> row = {backend, absl::StrCat(json["n"].get<int64_t>())};
    for (const char* fit : {"prefill_seconds_fit", "attention_workspace_fit", "kv_cache_fit"}) {
      row.push_back(json[fit].is_null() ? "" : WithInterval(json[fit]["exponent"].get<double>(), json[fit]["interval"], "%.2f"));
    }
    table.rows.push_back(std::move(row));
  }
  if (!table.rows.empty()) tables->push_back(std::move(table));
}

void AddOpenLoopTable(const Json& results, std::vector<TextTable>* tables) {
  TextTable table{.caption = "Open loop: all backends together, Poisson arrivals, time from the intended arrival",
                  .header = {"load", "backend", "n", "first token p50", "p95", "total p50", "p95", "p99"}};
  for (const Json& stage : results["open_loop"]) {
    const auto show = [&](const char* which, const char* percentile) { return FormatValue(stage[which][percentile].get<double>(), Unit::kSeconds); };
    table.rows.push_back({stage["phase"], stage["backend"], absl::StrCat(stage["n"].get<int64_t>()), show("client_first_token_seconds", "p50"),
                          show("client_first_token_seconds", "p95"), show("client_seconds", "p50"), show("client_seconds", "p95"), show("client_seconds", "p99")});
  }
  if (!table.rows.empty()) tables->push_back(std::move(table));
}

}  // namespace

std::vector<TextTable> MakeTables(const Json& results) {
  std::vector<TextTable> tables;
  AddQualityTables(results, &tables);
  AddComparisonTables(results, &tables);
  AddEfficiencyTables(results, &tables);
  AddEfficiencyComparisons(results, &tables);
  AddLengthTable(results, &tables);
  AddOpenLoopTable(results, &tables);
  return tables;
}

}  // namespace precis::eval
