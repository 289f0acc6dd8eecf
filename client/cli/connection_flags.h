#ifndef PRECIS_CLIENT_CLI_CONNECTION_FLAGS_H_
#define PRECIS_CLIENT_CLI_CONNECTION_FLAGS_H_

#include <CLI/CLI.hpp>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/summarizer_client.h"

namespace precis::cli {

// --server, --tls*, --token-file, --deadline, --retries.
struct ConnectionFlags {
  std::string server = "127.0.0.1:50051";
  bool tls = false;
  std::string tls_ca, tls_cert, tls_key, tls_server_name;
  std::string token_file;
  bool allow_plaintext_token = false;
  std::string deadline = "60s";
  int retries = 3;

  void AddTo(CLI::App* app);
  // Reads the token file. Errors name the flag.
  absl::StatusOr<client::ConnectionOptions> ToOptions() const;
  absl::Duration Deadline() const;  // the flag was checked while parsing
};

// Accepts what absl::ParseDuration does ("30s", "1m30s", "250ms") if it is more than zero.
extern const CLI::Validator kPositiveDuration;

}  // namespace precis::cli

#endif  // PRECIS_CLIENT_CLI_CONNECTION_FLAGS_H_
