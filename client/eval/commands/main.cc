// `precis-eval`: quality and efficiency of the attention backends on a dataset.
#include <CLI/CLI.hpp>
#include <csignal>

#include "client/cli/exit_code.h"
#include "client/eval/commands/report_command.h"
#include "client/eval/commands/run_command.h"
#include "client/eval/commands/score_command.h"
#include "client/eval/commands/study_command.h"
#include "client/eval/data/row_reader.h"

namespace precis::eval {
namespace {

int Main(int argc, char** argv) {
  CLI::App app("Measures summaries: quality and efficiency of attention backends, by a Precis server.", "precis-eval");
  app.set_version_flag("--version", HasParquet() ? "precis-eval 0.1.0 (with Parquet)" : "precis-eval 0.1.0 (without Parquet)");
  app.require_subcommand(1);
  app.footer(std::string("Examples:\n"
                         "  precis-eval run --data=test.parquet --sample=500 --backends=standard,flash,flash_alibi --out=study\n"
                         "  precis-eval report study\n"
                         "  precis-eval compare study-before study-after\n"
                         "  precis-eval score --pairs=pairs.jsonl --json\n"
                         "  precis-eval run --help\n\n") +
             cli::kExitCodeHelp);
  RunCommand run;
  ReportCommand report;
  CompareCommand compare;
  StudyCommand study;
  ScoreCommand score;
  int code = cli::kExitOk;
  const auto add = [&](const char* name, const char* description, auto* command) {
    CLI::App* sub = app.add_subcommand(name, description);
    command->AddTo(sub);
    sub->callback([&code, command] { code = command->Run(); });
  };
  add("run", "Send documents to a server's backends and keep the answers", &run);
  add("report", "Score a run and write its report", &report);
  add("compare", "Compare two runs on the documents that both have", &compare);
  add("study", "Run and report: three variants, quality and efficiency, in one command", &study);
  add("score", "Score pairs of reference and hypothesis (no server needed)", &score);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? cli::kExitOk : cli::kExitUsage;
  }
  return code;
}

}  // namespace
}  // namespace precis::eval

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  return precis::eval::Main(argc, argv);
}
