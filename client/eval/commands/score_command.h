#ifndef PRECIS_CLIENT_EVAL_COMMANDS_SCORE_COMMAND_H_
#define PRECIS_CLIENT_EVAL_COMMANDS_SCORE_COMMAND_H_

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace precis::eval {

// `precis-eval score`: pairs of texts in, scores out. No server.
struct ScoreCommand {
  std::vector<std::string> pairs;
  std::string reference_column, hypothesis_column, source_column, per_pair_file;
  bool json = false;
  int threads = 0;

  void AddTo(CLI::App* app);
  // Returns the exit code.
  int Run() const;
};

}  // namespace precis::eval

#endif  // PRECIS_CLIENT_EVAL_COMMANDS_SCORE_COMMAND_H_
