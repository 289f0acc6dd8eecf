#ifndef PRECIS_CLIENT_EVAL_COMMANDS_REPORT_COMMAND_H_
#define PRECIS_CLIENT_EVAL_COMMANDS_REPORT_COMMAND_H_

#include <CLI/CLI.hpp>
#include <string>

#include "absl/status/status.h"

namespace precis::eval {

struct ReportOptions {
  int replicates = 1000, threads = 0, examples = 6;
  uint64_t seed = 1;
  bool lowercase = false;

  void AddTo(CLI::App* app);
};

// Writes report.html, report.md, results.json and charts/*.svg, *.png into a run's folder.
absl::Status WriteReport(const std::string& folder, const ReportOptions& options);

// `precis-eval report DIR`.
struct ReportCommand {
  std::string folder;
  ReportOptions options;

  void AddTo(CLI::App* app);
  int Run() const;
};

// `precis-eval compare DIR_A DIR_B`: the systems of two runs, on the documents that both have.
struct CompareCommand {
  std::string a, b;
  ReportOptions options;
  bool json = false;

  void AddTo(CLI::App* app);
  int Run() const;
};

}  // namespace precis::eval

#endif  // PRECIS_CLIENT_EVAL_COMMANDS_REPORT_COMMAND_H_
