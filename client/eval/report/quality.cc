#include "client/eval/report/quality.h"

#include <algorithm>
#include <map>
#include <set>

#include "absl/strings/str_cat.h"
#include "client/eval/score/summary_json.h"

namespace precis::eval {
namespace {

using Pointers = std::vector<const PairScores*>;

template <typename Value>
Sample Mean(const Pointers& scores, Value value) {
  std::vector<double> values;
  for (const PairScores* pair : scores) values.push_back(value(*pair));
  return MeanSample(std::move(values));
}

Sample BleuSample(const Pointers& scores) {
  Sample sample{.width = 10};
  for (const PairScores* pair : scores) {
    const BleuCounts& counts = pair->bleu;
    sample.rows.push_back(static_cast<double>(counts.hypothesis_length));
    sample.rows.push_back(static_cast<double>(counts.reference_length));
    for (const int64_t n : counts.matches) sample.rows.push_back(static_cast<double>(n));
    for (const int64_t n : counts.totals) sample.rows.push_back(static_cast<double>(n));
  }
  sample.statistic = [](std::span<const double> sums, double) {
    BleuCounts counts{.hypothesis_length = static_cast<int64_t>(sums[0]), .reference_length = static_cast<int64_t>(sums[1])};
    for (int n = 0; n < 4; ++n) {
      counts.matches[n] = static_cast<int64_t>(sums[2 + n]);
      counts.totals[n] = static_cast<int64_t>(sums[6 + n]);
    }
    return Bleu(counts);
  };
  return sample;
}

Sample ChrfSample(const Pointers& scores) {
  Sample sample{.width = 18};
  for (const PairScores* pair : scores) {
    for (const ChrfCounts::Order& order : pair->chrf.orders) {
      for (const int64_t n : {order.hypothesis, order.reference, order.matches}) sample.rows.push_back(static_cast<double>(n));
    }
  }
  sample.statistic = [](std::span<const double> sums, double) {
    ChrfCounts counts;
    for (int n = 0; n < 6; ++n) {
      counts.orders[n] = {static_cast<int64_t>(sums[3 * n]), static_cast<int64_t>(sums[3 * n + 1]), static_cast<int64_t>(sums[3 * n + 2])};
    }
    return Chrf(counts);
  };
  return sample;
}

// A share of all numbers (or names) of the documents together.
template <typename Part, typename Whole>
Sample ShareSample(const Pointers& scores, Part part, Whole whole) {
  Sample sample{.width = 2};
  for (const PairScores* pair : scores) {
    sample.rows.push_back(pair->faithfulness ? static_cast<double>(part(*pair->faithfulness)) : 0);
    sample.rows.push_back(pair->faithfulness ? static_cast<double>(whole(*pair->faithfulness)) : 0);
  }
  sample.statistic = [](std::span<const double> sums, double) { return sums[1] > 0 ? sums[0] / sums[1] : 0; };
  return sample;
}

Pointers OfGroup(const Study& study, const Scored& scored, const System& system, const std::string& group) {
  Pointers pointers;
  for (size_t k = 0; k < scored.documents.size(); ++k) {
    if (group == "all" || study.documents[scored.documents[k]].group == group) pointers.push_back(&system.scores[k]);
  }
  return pointers;
}

}  // namespace

const std::vector<Metric>& Metrics() {
  static const auto* const metrics = new std::vector<Metric>{
      {"rouge1", "ROUGE-1", 100, 1, [](const Pointers& s) { return Mean(s, [](const PairScores& p) { return p.rouge.rouge1.fmeasure; }); }},
      {"rouge2", "ROUGE-2", 100, 1, [](const Pointers& s) { return Mean(s, [](const PairScores& p) { return p.rouge.rouge2.fmeasure; }); }},
      {"rougeL", "ROUGE-L", 100, 1, [](const Pointers& s) { return Mean(s, [](const PairScores& p) { return p.rouge.rougeL.fmeasure; }); }},
      {"rougeLsum", "ROUGE-Lsum", 100, 1, [](const Pointers& s) { return Mean(s, [](const PairScores& p) { return p.rouge.rougeLsum.fmeasure; }); }},
      {"bleu", "BLEU", 1, 1, &BleuSample},
      {"bleu_nltk", "BLEU (NLTK)", 100, 1, [](const Pointers& s) { return Mean(s, [](const PairScores& p) { return p.nltk_bleu.method1; }); }},
      {"chrf", "chrF", 1, 1, &ChrfSample},
      {"words", "Words", 1, 0, [](const Pointers& s) { return Mean(s, [](const PairScores& p) { return static_cast<double>(p.hypothesis.words); }); }},
      {"compression", "Compression", 1, 0, [](const Pointers& s) { return Mean(s, [](const PairScores& p) { return p.extractive ? p.extractive->compression : 0; }); }},
      {"novelty2", "Novel bigrams %", 100, 0, [](const Pointers& s) { return Mean(s, [](const PairScores& p) { return p.extractive ? p.extractive->novelty[1] : 0; }); }},
      {"repetition3", "Repeated trigrams %", 100, -1, [](const Pointers& s) { return Mean(s, [](const PairScores& p) { return p.repetition[2]; }); }},
      {"copied_span", "Copied span, words", 1, 0, [](const Pointers& s) { return Mean(s, [](const PairScores& p) { return p.extractive ? p.extractive->mean_span : 0; }); }},
      {"numbers_unsupported", "Numbers not in source %", 100, -1,
       [](const Pointers& s) { return ShareSample(s, [](const Faithfulness& f) { return f.unsupported_numbers.size(); }, [](const Faithfulness& f) { return f.numbers; }); }},
      {"names_unsupported", "Names not in source %", 100, -1,
       [](const Pointers& s) { return ShareSample(s, [](const Faithfulness& f) { return f.unsupported_names.size(); }, [](const Faithfulness& f) { return f.names; }); }},
  };
  return *metrics;
}

std::vector<std::string> GroupsOf(const Study& study, const Scored& scored) {
  std::map<std::string, int> counts;
  for (const int64_t i : scored.documents) ++counts[study.documents[i].group];
  std::vector<std::string> groups = {"all"};
  if (counts.size() < 2 || counts.size() > 10) return groups;
  for (const auto& [group, count] : counts) {
    if (!group.empty() && group != "all" && count >= 2) groups.push_back(group);
  }
  return groups;
}

Json QualityJson(const Study& study, const Scored& scored, const AnalysisOptions& options) {
  Json quality = Json::object();
  if (scored.documents.empty()) return quality;
  for (const std::string& group : GroupsOf(study, scored)) {
    for (const System& system : scored.systems) {
      const Pointers pointers = OfGroup(study, scored, system, group);
      Json scores = CorpusJson(std::span<const PairScores* const>(pointers));
      for (const Metric& metric : Metrics()) {
        const Sample sample = metric.sample(pointers);
        const Interval interval = BootstrapInterval(sample, options.level, options.replicates, options.seed);
        scores["metrics"][metric.key] = {{"value", sample.Score() * metric.scale}, {"interval", {interval.low * metric.scale, interval.high * metric.scale}}};
        const Json& faithfulness = scores.contains("faithfulness") ? scores["faithfulness"] : Json::object();
        for (const char* kind : {"numbers", "names"}) {  // a share of nothing is no number
          if (metric.key == absl::StrCat(kind, "_unsupported") && faithfulness.value(kind, 0) == 0) scores["metrics"][metric.key] = {{"value", nullptr}, {"interval", nullptr}};
        }
      }
      scores["baseline"] = system.baseline;
      quality[group][system.name] = std::move(scores);
    }
  }
  return quality;
}

Json ComparisonsJson(const Study& study, const Scored& scored, const AnalysisOptions& options) {
  Json comparisons = Json::array();
  if (scored.documents.size() < 2) return comparisons;
  static const std::set<std::string> kCompared = {"rouge1", "rouge2", "rougeL", "rougeLsum", "bleu", "chrf"};
  for (const std::string& group : GroupsOf(study, scored)) {
    for (const Metric& metric : Metrics()) {
      if (!kCompared.contains(metric.key)) continue;
      Json family = Json::array();  // Holm's correction is over the pairs of systems
      std::vector<double> p;
      for (size_t i = 0; i < scored.systems.size(); ++i) {
        for (size_t j = i + 1; j < scored.systems.size(); ++j) {
          const System &a = scored.systems[i], &b = scored.systems[j];
          if (a.baseline || b.name == "oracle") continue;
          const Pointers of_a = OfGroup(study, scored, a, group), of_b = OfGroup(study, scored, b, group);
          const PairedResult result = ComparePaired(metric.sample(of_a), metric.sample(of_b), options.level, options.replicates, options.seed);
          family.push_back({{"group", group}, {"metric", metric.key}, {"a", a.name}, {"b", b.name}, {"n", of_a.size()}, {"difference", result.difference * metric.scale},
                            {"interval", {result.interval.low * metric.scale, result.interval.high * metric.scale}}, {"p", result.p}});
          p.push_back(result.p);
        }
      }
      const std::vector<double> adjusted = HolmAdjust(p);
      for (size_t i = 0; i < adjusted.size(); ++i) {
        family[i]["p_holm"] = adjusted[i];
        comparisons.push_back(family[i]);
      }
    }
  }
  return comparisons;
}

Json SameTextJson(const Scored& scored) {
  Json same = Json::array();
  for (size_t i = 0; i < scored.systems.size(); ++i) {
    for (size_t j = i + 1; j < scored.systems.size(); ++j) {
      const System &a = scored.systems[i], &b = scored.systems[j];
      if (a.baseline || b.baseline) continue;
      int64_t equal = 0;
      for (size_t k = 0; k < a.texts.size(); ++k) equal += a.texts[k] == b.texts[k];
      same.push_back({{"a", a.name}, {"b", b.name}, {"n", a.texts.size()}, {"same", equal}});
    }
  }
  return same;
}

}  // namespace precis::eval
