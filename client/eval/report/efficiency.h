#ifndef PRECIS_CLIENT_EVAL_REPORT_EFFICIENCY_H_
#define PRECIS_CLIENT_EVAL_REPORT_EFFICIENCY_H_

#include "client/eval/report/analysis.h"
#include "client/eval/report/chart.h"

namespace precis::eval {

// What an answer cost, as the report shows it.
struct Measure {
  const char *key, *label;
  Unit unit;
  std::optional<double> (*value)(const Answer& answer);  // nullopt: this answer has none
};
const std::vector<Measure>& Measures();

// The parts of results.json about time and memory; of answers that were measured, not of the cache's.
Json EfficiencyJson(const Study& study, const AnalysisOptions& options);
Json EfficiencyComparisonsJson(const Study& study, const AnalysisOptions& options);
Json LengthsJson(const Study& study);
Json OpenLoopJson(const Study& study);

}  // namespace precis::eval

#endif  // PRECIS_CLIENT_EVAL_REPORT_EFFICIENCY_H_
