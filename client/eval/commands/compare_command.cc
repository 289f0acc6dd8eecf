#include <algorithm>
#include <iostream>
#include <map>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/exit_code.h"
#include "client/cli/table.h"
#include "client/eval/commands/report_command.h"
#include "client/eval/report/efficiency.h"
#include "client/eval/report/quality.h"

namespace precis::eval {
namespace {

struct Loaded {
  Study study;
  Scored scored;
  std::map<std::string, size_t> by_text;  // index into scored.documents
};

absl::StatusOr<Loaded> Load(const std::string& folder, const ReportOptions& options) {
  auto study = LoadStudy(folder);
  if (!study.ok()) return study.status();
  const int threads = options.threads > 0 ? options.threads : static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  Loaded loaded{*std::move(study), {}, {}};
  loaded.scored = ScoreStudy(loaded.study, options.lowercase, threads);
  for (size_t k = 0; k < loaded.scored.documents.size(); ++k) loaded.by_text[loaded.study.documents[loaded.scored.documents[k]].text] = k;
  return loaded;
}

// Systems of the same name, where there are such; otherwise each with each.
std::vector<std::pair<const System*, const System*>> PairSystems(const Loaded& a, const Loaded& b) {
  std::vector<std::pair<const System*, const System*>> same, all;
  for (const System& x : a.scored.systems) {
    for (const System& y : b.scored.systems) {
      if (x.baseline || y.baseline) continue;
      all.emplace_back(&x, &y);
      if (x.name == y.name) same.emplace_back(&x, &y);
    }
  }
  return same.empty() ? all : same;
}

Json CompareQuality(const Loaded& a, const Loaded& b, const ReportOptions& options, int64_t* shared) {
  Json rows = Json::array();
  std::vector<double> p;
  for (const auto& [x, y] : PairSystems(a, b)) {
    std::vector<const PairScores*> of_x, of_y;
    for (const auto& [text, k] : a.by_text) {
      const auto other = b.by_text.find(text);
      if (other == b.by_text.end()) continue;
      of_x.push_back(&x->scores[k]);
      of_y.push_back(&y->scores[other->second]);
    }
    *shared = static_cast<int64_t>(of_x.size());
    if (of_x.size() < 2) continue;
    for (const Metric& metric : Metrics()) {
      const Sample first = metric.sample(of_x), second = metric.sample(of_y);
      const PairedResult result = ComparePaired(first, second, 0.95, options.replicates, options.seed);
      rows.push_back({{"a", x->name}, {"b", y->name}, {"metric", metric.key}, {"n", of_x.size()}, {"score_a", first.Score() * metric.scale}, {"score_b", second.Score() * metric.scale},
                      {"difference", result.difference * metric.scale}, {"interval", {result.interval.low * metric.scale, result.interval.high * metric.scale}}, {"p", result.p}});
      p.push_back(result.p);
    }
  }
  const std::vector<double> adjusted = HolmAdjust(p);
  for (size_t i = 0; i < adjusted.size(); ++i) rows[i]["p_holm"] = adjusted[i];
  return rows;
}

// The runs were at different times: no pairing, the means with their intervals side by side.
Json CompareEfficiency(const Loaded& a, const Loaded& b, const ReportOptions& options) {
  const AnalysisOptions analysis{.replicates = options.replicates, .seed = options.seed};
  const Json of_a = EfficiencyJson(a.study, analysis), of_b = EfficiencyJson(b.study, analysis);
  Json rows = Json::array();
  for (const auto& [backend, json] : of_a.items()) {
    if (!of_b.contains(backend)) continue;
    for (const Measure& measure : Measures()) {
      if (!json.contains(measure.key) || !of_b[backend].contains(measure.key)) continue;
      const Json &x = json[measure.key], &y = of_b[backend][measure.key];
      rows.push_back({{"backend", backend}, {"measure", measure.key}, {"n_a", x["n"]}, {"n_b", y["n"]}, {"mean_a", x["mean"]}, {"mean_a_interval", x["mean_interval"]},
                      {"mean_b", y["mean"]}, {"mean_b_interval", y["mean_interval"]}});
    }
  }
  return rows;
}

std::string QualityText(const Json& rows) {
  cli::Table table({"a", "b", "metric", "n", "score a", "score b", "a - b", "95% interval", "p", "p (Holm)"});
  for (const Json& row : rows) {
    table.Add({row["a"], row["b"], row["metric"], row["n"].dump(), absl::StrFormat("%.2f", row["score_a"].get<double>()), absl::StrFormat("%.2f", row["score_b"].get<double>()),
               absl::StrFormat("%+.2f", row["difference"].get<double>()),
               absl::StrFormat("%+.2f to %+.2f", row["interval"][0].get<double>(), row["interval"][1].get<double>()), absl::StrFormat("%.3f", row["p"].get<double>()),
               absl::StrFormat("%.3f", row["p_holm"].get<double>())});
  }
  return table.ToString();
}

std::string EfficiencyText(const Json& rows) {
  cli::Table table({"backend", "measure", "n a", "n b", "mean a", "mean b", "a / b"});
  for (const Json& row : rows) {
    const auto measure = std::find_if(Measures().begin(), Measures().end(), [&](const Measure& m) { return row["measure"] == m.key; });
    const double a = row["mean_a"].get<double>(), b = row["mean_b"].get<double>();
    table.Add({row["backend"], measure->label, row["n_a"].dump(), row["n_b"].dump(), FormatValue(a, measure->unit), FormatValue(b, measure->unit),
               b != 0 ? absl::StrFormat("%.3f", a / b) : ""});
  }
  return table.ToString();
}

}  // namespace

void CompareCommand::AddTo(CLI::App* app) {
  app->add_option("a", a, "Folder of a run")->required();
  app->add_option("b", b, "Folder of another")->required();
  app->add_flag("--json", json, "Print a JSON object");
  options.AddTo(app);
  app->footer("Examples:\n"
              "  precis-eval compare before after\n"
              "  precis-eval compare study-f32 study-int8 --json | jq '.quality[] | select(.metric == \"rouge2\")'\n\n"
              "Compares each backend of the one run with that of the same name of the other (or, without a common name, each with each) on the documents that\n"
              "both have, whatever their order.");
}

int CompareCommand::Run() const {
  const auto first = Load(a, options), second = Load(b, options);
  for (const auto* loaded : {&first, &second}) {
    if (loaded->ok()) continue;
    cli::ReportError(loaded->status());
    return cli::kExitInput;
  }
  int64_t shared = 0;
  const Json quality = CompareQuality(*first, *second, options, &shared), efficiency = CompareEfficiency(*first, *second, options);
  if (json) {
    std::cout << cli::Dump({{"documents_shared", shared}, {"quality", quality}, {"efficiency", efficiency}}, true) << std::endl;
  } else {
    std::cout << shared << " documents are scored in both\n" << QualityText(quality) << EfficiencyText(efficiency) << std::flush;
  }
  if (shared >= 2) return cli::kExitOk;
  std::cerr << "error: the runs share no two documents that are scored in both" << std::endl;
  return cli::kExitInput;
}

}  // namespace precis::eval
