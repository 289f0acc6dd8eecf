#ifndef PRECIS_CLIENT_CLI_EXPERIMENTS_REPORT_H_
#define PRECIS_CLIENT_CLI_EXPERIMENTS_REPORT_H_

#include <string>

#include "precis/v1/experiments.pb.h"

namespace precis::cli {

// What `precis experiments report` prints: verdicts, arms, effects with their intervals, shadow pairs, sample ratio, decisions.
std::string ReportText(const v1::Report& report);

}  // namespace precis::cli

#endif  // PRECIS_CLIENT_CLI_EXPERIMENTS_REPORT_H_
