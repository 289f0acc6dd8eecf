// `precis`: the command line of the Precis service.
#include <CLI/CLI.hpp>
#include <csignal>

#include "client/cli/exit_code.h"
#include "client/cli/experiments_command.h"
#include "client/cli/list_commands.h"
#include "client/cli/summarize_command.h"

namespace precis::cli {
namespace {

int Main(int argc, char** argv) {
  CLI::App app("Summarises documents by a Precis server.", "precis");
  app.set_version_flag("--version", "precis 0.1.0");
  app.require_subcommand(1);
  app.footer(std::string("Examples:\n"
                         "  precis summarize article.txt --backend=flash\n"
                         "  precis models\n"
                         "  precis experiments report flash-vs-standard\n"
                         "  precis summarize --help\n\n") +
             kExitCodeHelp);
  SummarizeCommand summarize;
  ModelsCommand models;
  BackendsCommand backends;
  HealthCommand health;
  ExperimentsCommand experiments;
  int code = kExitOk;
  const auto add = [&](const char* name, const char* description, auto* command) {
    CLI::App* sub = app.add_subcommand(name, description);
    command->AddTo(sub);
    sub->callback([&code, command] { code = command->Run(); });
  };
  add("summarize", "Summarise documents", &summarize);
  add("models", "List the server's models and checkpoints", &models);
  add("backends", "List the attention backends", &backends);
  add("health", "Ask whether the server serves", &health);
  add("experiments", "Look at experiments, check their files, record outcomes", &experiments);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kExitOk : kExitUsage;
  }
  return code;
}

}  // namespace
}  // namespace precis::cli

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);  // `precis ... | head` ends by a failed write, not by a signal
  return precis::cli::Main(argc, argv);
}
