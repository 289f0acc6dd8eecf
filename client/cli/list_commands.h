#ifndef PRECIS_CLIENT_CLI_LIST_COMMANDS_H_
#define PRECIS_CLIENT_CLI_LIST_COMMANDS_H_

#include <CLI/CLI.hpp>
#include <string>

#include "client/cli/connection_flags.h"

namespace precis::cli {

// `precis models`, `precis backends`: a table, or the message in JSON.
class ModelsCommand {
 public:
  void AddTo(CLI::App* app);
  int Run();

 private:
  ConnectionFlags connection_;
  bool json_ = false;
};

class BackendsCommand {
 public:
  void AddTo(CLI::App* app);
  int Run();

 private:
  ConnectionFlags connection_;
  bool json_ = false;
};

// `precis health`: exit code 0 only if the server serves.
class HealthCommand {
 public:
  void AddTo(CLI::App* app);
  int Run();

 private:
  int Print(const absl::Status& status, client::Health health) const;

  ConnectionFlags connection_;
  std::string service_;
  bool watch_ = false;
  bool json_ = false;
};

}  // namespace precis::cli

#endif  // PRECIS_CLIENT_CLI_LIST_COMMANDS_H_
