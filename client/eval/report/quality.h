#ifndef PRECIS_CLIENT_EVAL_REPORT_QUALITY_H_
#define PRECIS_CLIENT_EVAL_REPORT_QUALITY_H_

#include "client/eval/report/analysis.h"

namespace precis::eval {

// The parts of results.json about the texts.
Json QualityJson(const Study& study, const Scored& scored, const AnalysisOptions& options);
Json ComparisonsJson(const Study& study, const Scored& scored, const AnalysisOptions& options);

// Share of documents for which two backends wrote the same text, for each pair: [{a, b, n, same}].
Json SameTextJson(const Scored& scored);

}  // namespace precis::eval

#endif  // PRECIS_CLIENT_EVAL_REPORT_QUALITY_H_
