#ifndef PRECIS_CLIENT_EVAL_REPORT_WRITERS_H_
#define PRECIS_CLIENT_EVAL_REPORT_WRITERS_H_

#include <string>
#include <vector>

#include "client/eval/report/analysis.h"
#include "client/eval/report/chart.h"

namespace precis::eval {

// The charts of a study; those without data are left out.
std::vector<Chart> MakeCharts(const Study& study, const Scored& scored, const Json& results);

// A page without scripts or outside resources: verdict, tables, charts, examples, how it was measured.
std::string ReportHtml(const Study& study, const Scored& scored, const Json& results, const std::vector<Chart>& charts, int examples);

// The same without examples, for a repository or a paper; the charts are linked as charts/ID.svg.
std::string ReportMarkdown(const Json& results, const std::vector<Chart>& charts);

// A table as both writers show it.
struct TextTable {
  std::string caption;
  std::vector<std::string> header;
  std::vector<std::vector<std::string>> rows;
};
std::vector<TextTable> MakeTables(const Json& results);

// The style sheet of the page.
std::string ReportStyle();

}  // namespace precis::eval

#endif  // PRECIS_CLIENT_EVAL_REPORT_WRITERS_H_
