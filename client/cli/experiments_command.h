#ifndef PRECIS_CLIENT_CLI_EXPERIMENTS_COMMAND_H_
#define PRECIS_CLIENT_CLI_EXPERIMENTS_COMMAND_H_

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "client/cli/connection_flags.h"

namespace precis::cli {

// precis experiments list|show|report|validate|assign|record|stop|reload.
class ExperimentsCommand {
 public:
  void AddTo(CLI::App* app);
  int Run();

 private:
  CLI::App* Add(CLI::App* app, const char* name, const char* description, const char* example, int (ExperimentsCommand::*run)());
  int List();
  int Show();
  int Report();
  int Validate();
  int Assign();
  int Record();
  int Stop();
  int Reload();
  template <typename Request, typename Response, typename Method>
  int Call(const Request& request, Response* response, Method method);

  ConnectionFlags connection_;
  bool json_ = false, local_only_ = false;
  std::string name_, arm_, reason_, file_, traffic_, unit_, model_, backend_, request_id_;
  std::vector<std::string> metadata_, outcomes_;
  int (ExperimentsCommand::*run_)() = nullptr;
};

}  // namespace precis::cli

#endif  // PRECIS_CLIENT_CLI_EXPERIMENTS_COMMAND_H_
