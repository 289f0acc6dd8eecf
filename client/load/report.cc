#include "client/load/report.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "client/cli/table.h"

namespace precis::load {
namespace {

using cli::Json;

std::string Milliseconds(const Distribution& distribution, double percent) {
  if (distribution.sorted.empty()) return "-";
  return absl::StrFormat("%.1f", 1000 * Percentile(distribution.sorted, percent));
}

void AddRow(cli::Table* table, const std::string& name, const Summary& summary, double seconds) {
  std::vector<std::string> row = {name, absl::StrCat(summary.requests), absl::StrCat(summary.ok)};
  for (double percent : {50, 90, 95, 99}) row.push_back(Milliseconds(summary.latency, percent));
  for (double percent : {50, 95, 99}) row.push_back(Milliseconds(summary.time_to_first_token, percent));
  for (double percent : {50, 99}) row.push_back(Milliseconds(summary.inter_token, percent));
  row.push_back(absl::StrFormat("%.2f", static_cast<double>(summary.ok) / seconds));
  row.push_back(absl::StrFormat("%.1f", static_cast<double>(summary.new_tokens) / seconds));
  table->Add(std::move(row));
}

std::string StageTable(const Stage& stage) {
  cli::Table table({"backend", "sent", "ok", "p50 ms", "p90", "p95", "p99", "ttft p50", "p95", "p99", "gap p50", "p99",
                    "ok/s", "tokens/s"});
  const auto by_backend = stage.ByBackend();
  const Summary all = stage.All();
  for (const auto& [backend, summary] : by_backend) AddRow(&table, backend, summary, stage.seconds);
  if (by_backend.size() != 1) AddRow(&table, "all", all, stage.seconds);
  std::string text = stage.rate > 0 ? absl::StrFormat("rate %g/s, %.1f s\n", stage.rate, stage.seconds)
                                    : absl::StrFormat("closed loop, %.1f s\n", stage.seconds);
  text += table.ToString();
  if (all.errors.empty()) return text;
  return text + "errors: " + absl::StrJoin(all.errors, ", ", absl::PairFormatter(" ")) + "\n";
}

Json DistributionJson(const Distribution& distribution) {
  Json json = {{"count", distribution.sorted.size()}, {"mean", distribution.mean()}};
  for (double percent : {50, 90, 95, 99}) {
    json[absl::StrFormat("p%g", percent)] = Percentile(distribution.sorted, percent);
  }
  json["max"] = distribution.sorted.empty() ? 0 : distribution.sorted.back();
  return json;
}

Json SummaryJson(const Summary& summary, double seconds) {
  return {{"requests", summary.requests},
          {"ok", summary.ok},
          {"errors", summary.errors},
          {"latency_seconds", DistributionJson(summary.latency)},
          {"time_to_first_token_seconds", DistributionJson(summary.time_to_first_token)},
          {"inter_token_seconds", DistributionJson(summary.inter_token)},
          {"prompt_tokens", summary.prompt_tokens},
          {"new_tokens", summary.new_tokens},
          {"ok_per_second", static_cast<double>(summary.ok) / seconds},
          {"new_tokens_per_second", static_cast<double>(summary.new_tokens) / seconds}};
}

}  // namespace

std::string ReportTable(const std::vector<Stage>& stages) {
  std::string text;
  for (const Stage& stage : stages) absl::StrAppend(&text, text.empty() ? "" : "\n", StageTable(stage));
  return text;
}

Json ReportJson(const Options& options, const std::vector<Stage>& stages) {
  Json json;
  json["options"] = {{"server", options.connection.server},
                     {"rates", options.rates},
                     {"concurrency", options.concurrency},
                     {"duration", options.duration},
                     {"backends", options.backends.empty() ? options.request.backend : options.backends},
                     {"documents", options.files.size()},
                     {"synthetic_words", options.files.empty() ? options.synthetic : ""},
                     {"max_in_flight", options.max_in_flight},
                     {"load_seed", options.load_seed},
                     {"deadline", options.connection.deadline}};
  json["stages"] = Json::array();
  for (const Stage& stage : stages) {
    Json entry = {{"rate", stage.rate}, {"seconds", stage.seconds}};
    entry["all"] = SummaryJson(stage.All(), stage.seconds);
    entry["backends"] = Json::object();
    for (const auto& [backend, summary] : stage.ByBackend()) {
      entry["backends"][backend] = SummaryJson(summary, stage.seconds);
    }
    json["stages"].push_back(std::move(entry));
  }
  return json;
}

}  // namespace precis::load
