#ifndef PRECIS_CLIENT_EVAL_REPORT_ANALYSIS_H_
#define PRECIS_CLIENT_EVAL_REPORT_ANALYSIS_H_

#include <string>
#include <vector>

#include "client/eval/report/study.h"
#include "client/eval/stats/resampling.h"

namespace precis::eval {

struct AnalysisOptions {
  double level = 0.95;
  int replicates = 1000;
  uint64_t seed = 1;
};

// A score of a set of summaries as the report shows it.
struct Metric {
  const char *key, *label;
  double scale;          // shown times this: ROUGE 0 .. 100
  int better;            // 1: more is better, -1: less is, 0: neither
  Sample (*sample)(const std::vector<const PairScores*>& scores);
};
const std::vector<Metric>& Metrics();

// The names of the groups with at least two documents, after "all"; only "all" where there is one group or more than ten.
std::vector<std::string> GroupsOf(const Study& study, const Scored& scored);

// results.json: what was run, and
//   quality.GROUP.SYSTEM: scores as `precis-eval score` prints them and intervals.METRIC [low, high]
//   comparisons[]: group, metric, a, b, n, difference (a - b), interval, p, p_holm (over the pairs of systems of a group and metric)
//   efficiency.BACKEND: n, per measure {mean, mean_interval, p50, p50_interval, p95, p99}; seconds and bytes; throughput
//   efficiency_comparisons[]: like comparisons, with the ratio of the means
//   lengths.BACKEND: points and fitted exponents; open_loop[]
//   verdict[]: sentences
// The texts of documents and summaries are not in it.
Json Analyse(const Study& study, const Scored& scored, const AnalysisOptions& options);

}  // namespace precis::eval

#endif  // PRECIS_CLIENT_EVAL_REPORT_ANALYSIS_H_
