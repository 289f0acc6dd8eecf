#include "client/eval/report/efficiency.h"

#include <algorithm>
#include <map>

#include "client/eval/stats/random.h"

namespace precis::eval {
namespace {

std::optional<double> PerToken(const Answer& answer) {
  const double tokens = answer.Cost("new_tokens") - 1;
  return tokens > 0 ? std::optional(answer.Cost("decode_seconds") / tokens) : std::nullopt;
}

std::optional<double> Energy(const Answer& answer) {
  return answer.accounting.contains("energy_joules") && answer.accounting["energy_joules"].is_number() ? std::optional(answer.Cost("energy_joules")) : std::nullopt;
}

std::vector<const Answer*> Measured(const Study& study, const std::string& backend, const std::string& phase) {
  std::vector<const Answer*> answers;
  for (const Answer& answer : study.answers) {
    if (answer.ok() && !answer.cached && answer.backend == backend && answer.phase == phase) answers.push_back(&answer);
  }
  return answers;
}

std::vector<double> Values(const std::vector<const Answer*>& answers, const Measure& measure) {
  std::vector<double> values;
  for (const Answer* answer : answers) {
    if (const auto value = measure.value(*answer)) values.push_back(*value);
  }
  return values;
}

Interval PercentileBootstrap(const std::vector<double>& values, double percent, const AnalysisOptions& options) {
  Random random(options.seed);
  std::vector<double> estimates;
  for (int replicate = 0; replicate < options.replicates; ++replicate) {
    std::vector<double> draw;
    for (size_t i = 0; i < values.size(); ++i) draw.push_back(values[random.Below(values.size())]);
    std::sort(draw.begin(), draw.end());
    estimates.push_back(Percentile(draw, percent));
  }
  std::sort(estimates.begin(), estimates.end());
  const double tail = 50 * (1 - options.level);
  return {Percentile(estimates, tail), Percentile(estimates, 100 - tail)};
}

Json ToJson(const Interval& interval) { return {interval.low, interval.high}; }

Json DistributionJson(std::vector<double> values, const AnalysisOptions& options) {
  std::sort(values.begin(), values.end());
  const Sample sample = MeanSample(values);
  return {{"n", values.size()},
          {"mean", sample.Score()},
          {"mean_interval", ToJson(BootstrapInterval(sample, options.level, options.replicates, options.seed))},
          {"p50", Percentile(values, 50)},
          {"p50_interval", ToJson(PercentileBootstrap(values, 50, options))},
          {"p95", Percentile(values, 95)},
          {"p95_interval", ToJson(PercentileBootstrap(values, 95, options))},
          {"p99", Percentile(values, 99)}};
}

// Tokens and documents over the seconds of the backend's own blocks, and the interval over blocks.
Json ThroughputJson(const Study& study, const std::string& backend, const std::vector<const Answer*>& answers, const AnalysisOptions& options) {
  std::map<int64_t, double> tokens;
  for (const Answer* answer : answers) tokens[answer->document] = answer->Cost("new_tokens");
  Sample per_token{.width = 3};
  for (const Study::Block& block : study.blocks) {
    if (block.backend != backend) continue;
    double block_tokens = 0;
    for (const int64_t document : block.documents) block_tokens += tokens.contains(document) ? tokens[document] : 0;
    per_token.rows.insert(per_token.rows.end(), {block_tokens, static_cast<double>(block.documents.size()), block.seconds});
  }
  if (per_token.rows.empty()) return nullptr;
  Sample per_document = per_token;
  per_token.statistic = [](std::span<const double> sums, double) { return sums[0] / sums[2]; };
  per_document.statistic = [](std::span<const double> sums, double) { return sums[1] / sums[2]; };
  return {{"blocks", per_token.documents()},
          {"tokens_per_second", per_token.Score()},
          {"tokens_per_second_interval", ToJson(BootstrapInterval(per_token, options.level, options.replicates, options.seed))},
          {"documents_per_second", per_document.Score()},
          {"documents_per_second_interval", ToJson(BootstrapInterval(per_document, options.level, options.replicates, options.seed))}};
}

Json FitJson(const std::vector<double>& x, const std::vector<double>& y) {
  const PowerFit fit = FitPower(x, y);
  if (!fit.valid) return nullptr;
  return {{"exponent", fit.exponent}, {"interval", ToJson(fit.interval)}, {"factor", fit.factor}, {"points", fit.points}};
}

}  // namespace

const std::vector<Measure>& Measures() {
  static const auto* const measures = new std::vector<Measure>{
      {"queue_seconds", "Queue", Unit::kSeconds, [](const Answer& a) { return std::optional(a.Cost("queue_seconds")); }},
      {"prefill_seconds", "Prefill", Unit::kSeconds, [](const Answer& a) { return std::optional(a.Cost("prefill_seconds")); }},
      {"time_to_first_token_seconds", "First token", Unit::kSeconds, [](const Answer& a) { return std::optional(a.Cost("time_to_first_token_seconds")); }},
      {"per_token_seconds", "Each further token", Unit::kSeconds, &PerToken},
      {"total_seconds", "Total", Unit::kSeconds, [](const Answer& a) { return std::optional(a.Cost("total_seconds")); }},
      {"client_seconds", "Total, at the client", Unit::kSeconds, [](const Answer& a) { return std::optional(a.client_seconds); }},
      {"attention_workspace_bytes", "Attention workspace, peak", Unit::kBytes, [](const Answer& a) { return std::optional(a.Cost("attention_workspace_peak_bytes")); }},
      {"kv_cache_bytes", "KV cache, peak", Unit::kBytes, [](const Answer& a) { return std::optional(a.Cost("kv_cache_peak_bytes")); }},
      {"memory_bytes", "Workspace, KV and weights", Unit::kBytes,
       [](const Answer& a) { return std::optional(a.Cost("attention_workspace_peak_bytes") + a.Cost("kv_cache_peak_bytes") + a.Cost("weights_bytes")); }},
      {"energy_joules", "Energy, J", Unit::kNumber, &Energy},
      {"prompt_tokens", "Prompt tokens", Unit::kNumber, [](const Answer& a) { return std::optional(a.Cost("prompt_tokens")); }},
      {"cached_tokens", "Of these from the prefix cache", Unit::kNumber, [](const Answer& a) { return std::optional(a.Cost("cached_tokens")); }},
      {"truncated_tokens", "Document tokens cut", Unit::kNumber, [](const Answer& a) { return std::optional(a.Cost("truncated_tokens")); }},
      {"new_tokens", "New tokens", Unit::kNumber, [](const Answer& a) { return std::optional(a.Cost("new_tokens")); }},
  };
  return *measures;
}

Json EfficiencyJson(const Study& study, const AnalysisOptions& options) {
  Json efficiency = Json::object();
  for (const std::string& backend : study.backends) {
    const auto answers = Measured(study, backend, "documents");
    Json json = {{"n", answers.size()}};
    int64_t failed = 0, cached = 0;
    for (const Answer& answer : study.answers) {
      const bool of_this = answer.backend == backend && answer.phase == "documents";
      failed += of_this && !answer.ok();
      cached += of_this && answer.cached;
    }
    json["failed"] = failed;
    json["from_cache"] = cached;
    if (!answers.empty()) {
      for (const Measure& measure : Measures()) {
        const std::vector<double> values = Values(answers, measure);
        if (!values.empty()) json[measure.key] = DistributionJson(values, options);
      }
      json["throughput"] = ThroughputJson(study, backend, answers, options);
    }
    efficiency[backend] = std::move(json);
  }
  return efficiency;
}

Json EfficiencyComparisonsJson(const Study& study, const AnalysisOptions& options) {
  Json comparisons = Json::array();
  std::vector<double> p;
  for (size_t i = 0; i < study.backends.size(); ++i) {
    for (size_t j = i + 1; j < study.backends.size(); ++j) {
      std::map<int64_t, const Answer*> of_b;
      for (const Answer* answer : Measured(study, study.backends[j], "documents")) of_b[answer->document] = answer;
      for (const Measure& measure : Measures()) {
        const std::string key = measure.key;
        if (key != "prefill_seconds" && key != "per_token_seconds" && key != "total_seconds" && key != "attention_workspace_bytes") continue;
        std::vector<double> a, b;
        for (const Answer* answer : Measured(study, study.backends[i], "documents")) {
          const auto other = of_b.find(answer->document);
          if (other == of_b.end()) continue;
          const auto x = measure.value(*answer), y = measure.value(*other->second);
          if (!x || !y) continue;
          a.push_back(*x);
          b.push_back(*y);
        }
        if (a.size() < 2) continue;
        const Sample of_one = MeanSample(a), of_two = MeanSample(b);
        const PairedResult result = ComparePaired(of_one, of_two, options.level, options.replicates, options.seed);
        p.push_back(result.p);
        comparisons.push_back({{"measure", key}, {"a", study.backends[i]}, {"b", study.backends[j]}, {"n", a.size()}, {"difference", result.difference},
                               {"interval", ToJson(result.interval)}, {"ratio", of_two.Score() > 0 ? Json(of_one.Score() / of_two.Score()) : Json()}, {"p", result.p}});
      }
    }
  }
  const std::vector<double> adjusted = HolmAdjust(p);
  for (size_t i = 0; i < adjusted.size(); ++i) comparisons[i]["p_holm"] = adjusted[i];
  return comparisons;
}

Json LengthsJson(const Study& study) {
  Json lengths = Json::object();
  for (const std::string& backend : study.backends) {
    std::vector<double> tokens, seconds, workspace, kv;
    Json points = Json::array();
    for (const Answer* answer : Measured(study, backend, "lengths")) {
      tokens.push_back(answer->Cost("prompt_tokens"));
      seconds.push_back(answer->Cost("prefill_seconds"));
      workspace.push_back(answer->Cost("attention_workspace_peak_bytes"));
      kv.push_back(answer->Cost("kv_cache_peak_bytes"));
      points.push_back({{"words", answer->document / 1000}, {"prompt_tokens", tokens.back()}, {"prefill_seconds", seconds.back()},
                        {"attention_workspace_bytes", workspace.back()}, {"kv_cache_bytes", kv.back()}});
    }
    if (points.empty()) continue;
    lengths[backend] = {{"n", points.size()},
                        {"prefill_seconds_fit", FitJson(tokens, seconds)},
                        {"attention_workspace_fit", FitJson(tokens, workspace)},
                        {"kv_cache_fit", FitJson(tokens, kv)},
                        {"points", points}};
  }
  return lengths;
}

Json OpenLoopJson(const Study& study) {
  Json stages = Json::array();
  std::vector<std::string> phases;
  for (const Answer& answer : study.answers) {
    if (answer.phase.rfind("open ", 0) == 0 && std::find(phases.begin(), phases.end(), answer.phase) == phases.end()) phases.push_back(answer.phase);
  }
  for (const std::string& phase : phases) {
    for (const std::string& backend : study.backends) {
      std::vector<double> total, first;
      for (const Answer* answer : Measured(study, backend, phase)) {
        total.push_back(answer->client_seconds);
        first.push_back(answer->client_first_token_seconds);
      }
      if (total.empty()) continue;
      std::sort(total.begin(), total.end());
      std::sort(first.begin(), first.end());
      const auto percentiles = [](const std::vector<double>& values) {
        return Json{{"p50", Percentile(values, 50)}, {"p95", Percentile(values, 95)}, {"p99", Percentile(values, 99)}};
      };
      stages.push_back({{"phase", phase}, {"backend", backend}, {"n", total.size()}, {"client_seconds", percentiles(total)}, {"client_first_token_seconds", percentiles(first)}});
    }
  }
  return stages;
}

}  // namespace precis::eval
