#include "client/eval/report/analysis.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/eval/report/efficiency.h"
#include "client/eval/report/quality.h"

namespace precis::eval {
namespace {

std::string Significance(const Json& comparison) {
  const double p = comparison["p_holm"].get<double>();
  return absl::StrFormat("95%% interval %+.2f to %+.2f, p %s after Holm's correction, n = %d", comparison["interval"][0].get<double>(),
                         comparison["interval"][1].get<double>(), p < 0.01 ? "< 0.01" : absl::StrFormat("= %.2f", p), comparison["n"].get<int64_t>());
}

const Json* FindComparison(const Json& comparisons, const std::string& group, const char* metric, const std::string& a, const std::string& b) {
  for (const Json& comparison : comparisons) {
    if (comparison["group"] == group && comparison["metric"] == metric && comparison["a"] == a && comparison["b"] == b) return &comparison;
  }
  return nullptr;
}

// Three contenders are told apart in pairs; of more, each is set against the first, and the tables have the rest.
bool InVerdict(const Study& study, const std::string& a) { return study.backends.size() <= 3 || a == study.backends.front(); }

// Against lead-3 and against each other, by ROUGE-1.
void QualityVerdict(const Study& study, const Json& results, std::vector<std::string>* verdict) {
  for (const auto& [group, systems] : results["quality"].items()) {
    if (results["quality"].size() > 1 && group == "all") continue;  // distributions that differ are told apart
    for (const std::string& backend : study.backends) {
      const Json* const lead = FindComparison(results["comparisons"], group, "rouge1", backend, "lead-3");
      if (lead == nullptr) continue;
      const double difference = (*lead)["difference"].get<double>();
      const bool sure = (*lead)["p_holm"].get<double>() < 0.05;
      verdict->push_back(absl::StrFormat("%s%s: ROUGE-1 %.2f, %s the first three sentences (%.2f): %+.2f (%s).", group == "all" ? "" : group + ", ", backend,
                                         systems[backend]["metrics"]["rouge1"]["value"].get<double>(),
                                         !sure ? "not told apart from" : difference > 0 ? "above" : "below",
                                         systems["lead-3"]["metrics"]["rouge1"]["value"].get<double>(), difference, Significance(*lead)));
    }
  }
  for (const Json& same : results["same_texts"]) {
    const std::string a = same["a"], b = same["b"];
    if (!InVerdict(study, a)) continue;
    const Json* const comparison = FindComparison(results["comparisons"], "all", "rouge1", a, b);
    std::string line = absl::StrFormat("%s and %s wrote the same text for %d of %d documents", a, b, same["same"].get<int64_t>(), same["n"].get<int64_t>());
    if (comparison != nullptr && same["same"] != same["n"]) {
      absl::StrAppendFormat(&line, "; ROUGE-1 differs by %+.2f (%s)", (*comparison)["difference"].get<double>(), Significance(*comparison));
    }
    verdict->push_back(line + ".");
  }
}

void EfficiencyVerdict(const Study& study, const Json& results, std::vector<std::string>* verdict) {
  for (const Json& comparison : results["efficiency_comparisons"]) {
    if (comparison["ratio"].is_null() || !InVerdict(study, comparison["a"])) continue;
    const std::string measure = comparison["measure"], a = comparison["a"], b = comparison["b"];
    const double ratio = comparison["ratio"].get<double>();
    const bool sure = comparison["p_holm"].get<double>() < 0.05;
    if (measure == "total_seconds") {
      verdict->push_back(sure ? absl::StrFormat("%s takes %.2f times the time of %s for a document (mean of %d documents).", a, ratio, b, comparison["n"].get<int64_t>())
                              : absl::StrFormat("%s and %s are not told apart by their time for a document (ratio %.2f, n = %d).", a, b, ratio, comparison["n"].get<int64_t>()));
    } else if (measure == "attention_workspace_bytes" && (ratio > 1.05 || ratio < 0.95)) {
      verdict->push_back(absl::StrFormat("%s needs %.3g times the attention workspace of %s (mean of %d documents).", a, ratio, b, comparison["n"].get<int64_t>()));
    }
  }
  for (const auto& [backend, lengths] : results["lengths"].items()) {
    const auto part = [&lengths = lengths](const char* fit, const char* what) {
      if (lengths[fit].is_null()) return std::string();
      return absl::StrFormat("%s as tokens^%.2f (%.2f to %.2f)", what, lengths[fit]["exponent"].get<double>(), lengths[fit]["interval"][0].get<double>(),
                             lengths[fit]["interval"][1].get<double>());
    };
    const std::string time = part("prefill_seconds_fit", "prefill time"), memory = part("attention_workspace_fit", "attention workspace");
    if (time.empty() && memory.empty()) continue;
    verdict->push_back(absl::StrCat(backend, " grows with the document: ", time, time.empty() || memory.empty() ? "" : ", ", memory, "; n = ",
                                    lengths["n"].get<int64_t>(), "."));
  }
}

}  // namespace

Json Analyse(const Study& study, const Scored& scored, const AnalysisOptions& options) {
  Json results = {{"format", "precis-eval results 1"}, {"run", study.run}};
  results["statistics"] = {{"level", options.level}, {"replicates", options.replicates}, {"seed", options.seed}};
  results["documents"] = study.documents.size();
  results["documents_scored"] = scored.documents.size();
  results["quality"] = QualityJson(study, scored, options);
  results["comparisons"] = ComparisonsJson(study, scored, options);
  results["same_texts"] = SameTextJson(scored);
  results["efficiency"] = EfficiencyJson(study, options);
  results["efficiency_comparisons"] = EfficiencyComparisonsJson(study, options);
  results["lengths"] = LengthsJson(study);
  results["open_loop"] = OpenLoopJson(study);
  std::vector<std::string> verdict;
  QualityVerdict(study, results, &verdict);
  EfficiencyVerdict(study, results, &verdict);
  if (verdict.empty()) verdict.push_back("Nothing to compare: no document was answered.");
  results["verdict"] = verdict;
  return results;
}

}  // namespace precis::eval
