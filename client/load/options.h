#ifndef PRECIS_CLIENT_LOAD_OPTIONS_H_
#define PRECIS_CLIENT_LOAD_OPTIONS_H_

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "client/cli/connection_flags.h"
#include "client/cli/request_flags.h"

namespace precis::load {

// The flags of precis-load.
struct Options {
  std::vector<std::string> files;
  std::string synthetic = "200-400";  // words: N or LOW-HIGH
  std::vector<double> rates;          // requests/s; empty: closed loop
  int concurrency = 0;                // > 0: closed loop
  std::string duration = "10s";
  int64_t max_requests = 100000;
  int max_in_flight = 2000;
  std::string backends;  // flash:2,standard:1
  int warmup = 1;
  uint64_t load_seed = 1;
  std::string json_file, svg_file;
  bool quiet = false;
  cli::ConnectionFlags connection;
  cli::RequestFlags request;

  void AddTo(CLI::App* app);
  absl::Status Check() const;  // what the parser can't: flags against each other
  absl::Duration Duration() const;
};

}  // namespace precis::load

#endif  // PRECIS_CLIENT_LOAD_OPTIONS_H_
