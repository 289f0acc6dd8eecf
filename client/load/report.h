#ifndef PRECIS_CLIENT_LOAD_REPORT_H_
#define PRECIS_CLIENT_LOAD_REPORT_H_

#include <string>
#include <vector>

#include "client/cli/json.h"
#include "client/load/options.h"
#include "client/load/samples.h"

namespace precis::load {

// A table a stage: a row for each backend and one for all.
std::string ReportTable(const std::vector<Stage>& stages);

// Everything in the table and more, with the options that made it. Seconds, base units.
cli::Json ReportJson(const Options& options, const std::vector<Stage>& stages);

}  // namespace precis::load

#endif  // PRECIS_CLIENT_LOAD_REPORT_H_
