#ifndef PRECIS_CLIENT_CLI_SUMMARIZE_COMMAND_H_
#define PRECIS_CLIENT_CLI_SUMMARIZE_COMMAND_H_

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "client/cli/connection_flags.h"
#include "client/cli/request_flags.h"
#include "client/summarizer_client.h"

namespace precis::cli {

// `precis summarize`.
class SummarizeCommand {
 public:
  void AddTo(CLI::App* app);
  // The exit code; that of the last document that failed.
  int Run();

 private:
  int RunOne(client::SummarizerClient* client, const std::string& file);
  int RunMany(client::SummarizerClient* client);
  absl::StatusOr<v1::SummarizeResponse> Stream(client::SummarizerClient* client,
                                               const v1::SummarizeRequest& request);
  void PrintResponse(const std::string& file, const v1::SummarizeResponse& response) const;
  int PrintError(const std::string& file, const absl::Status& status) const;
  client::CallOptions Call() const { return {.timeout = connection_.Deadline()}; }
  bool several() const { return files_.size() > 1; }

  ConnectionFlags connection_;
  RequestFlags request_;
  std::vector<std::string> files_;
  bool many_ = false;
  bool stream_ = false;
  bool json_ = false;
  std::string hedge_delay_;  // empty: no copies
  double hedge_budget_ = client::HedgeOptions().budget;
};

}  // namespace precis::cli

#endif  // PRECIS_CLIENT_CLI_SUMMARIZE_COMMAND_H_
