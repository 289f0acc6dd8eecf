#ifndef PRECIS_CLIENT_EVAL_COMMANDS_STUDY_COMMAND_H_
#define PRECIS_CLIENT_EVAL_COMMANDS_STUDY_COMMAND_H_

#include <string>
#include <vector>

#include "client/eval/commands/report_command.h"
#include "client/eval/commands/run_command.h"

namespace precis::eval {

// `precis-eval study`: a server (started here unless one is named), the run, the report and the log for Weights & Biases.
struct StudyCommand {
  RunCommand run;
  ReportOptions report;
  std::vector<std::string> models, server_flags;
  std::string server_binary, wandb = "none", wandb_project = "precis", python = "python3";

  void AddTo(CLI::App* app);
  int Run();
};

}  // namespace precis::eval

#endif  // PRECIS_CLIENT_EVAL_COMMANDS_STUDY_COMMAND_H_
