#ifndef PRECIS_CLIENT_EVAL_COMMANDS_RUN_COMMAND_H_
#define PRECIS_CLIENT_EVAL_COMMANDS_RUN_COMMAND_H_

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/cli/connection_flags.h"
#include "client/cli/request_flags.h"
#include "client/eval/run/run_options.h"

namespace precis::eval {

// `precis-eval run`: sends documents to a server's backends and keeps the answers in a folder.
struct RunCommand {
  cli::ConnectionFlags connection;
  cli::RequestFlags request;
  RunOptions options;
  std::string backends, lengths = "64,128,256,512", rates;
  bool no_cache = false;

  void AddTo(CLI::App* app);
  // Returns the exit code.
  int Run();

  absl::StatusOr<RunOptions> ToOptions();
};

// The exit code of a run as `options` says; prints what came out.
int RunAndReport(const RunOptions& options);

}  // namespace precis::eval

#endif  // PRECIS_CLIENT_EVAL_COMMANDS_RUN_COMMAND_H_
