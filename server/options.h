#ifndef PRECIS_SERVER_OPTIONS_H_
#define PRECIS_SERVER_OPTIONS_H_

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "runtime/engine.h"
#include "runtime/model/catalog.h"
#include "server/experiments/experiment.h"
#include "server/logger.h"

namespace precis::server {

// All that can be set from outside. Defaults are here; names, ranges and help are in options_table.cc.
struct ServerOptions {
  std::string listen = "127.0.0.1:50051";
  std::string metrics_listen = "127.0.0.1:9464";  // "off": none

  std::vector<runtime::ModelSpec> models;
  std::string device = "auto";
  std::string weights = "auto";
  std::string kv_cache_dtype = "auto";
  std::string cpu_isa = "auto";
  int64_t alibi_context_tokens = 32768;

  runtime::EngineOptions engine;

  int64_t max_document_bytes = int64_t{1} << 20;
  int64_t max_message_bytes = int64_t{16} << 20;
  int64_t max_streams_per_connection = 4096;
  int64_t many_in_flight = 64;

  std::string tls_cert, tls_key, tls_client_ca;
  absl::Duration tls_reload = absl::Seconds(10);
  std::string auth_tokens_file;
  absl::Duration auth_reload = absl::Seconds(5);
  bool reflection = true;

  absl::Duration keepalive_time = absl::Minutes(1);
  absl::Duration keepalive_timeout = absl::Seconds(20);
  absl::Duration keepalive_min_interval = absl::Seconds(10);
  absl::Duration max_connection_age = absl::InfiniteDuration();
  absl::Duration max_connection_age_grace = absl::Minutes(5);
  absl::Duration max_connection_idle = absl::InfiniteDuration();

  std::string experiments_file, experiments_state;
  absl::Duration experiments_reload = absl::Seconds(2);
  absl::Duration experiments_flush = absl::Seconds(1);
  absl::Duration experiments_check = absl::Seconds(5);
  absl::Duration outcome_window = absl::Hours(24);
  std::vector<std::string> experiment_peers;
  std::string peer_tls_ca, peer_tls_cert, peer_tls_key, peer_tls_name;
  std::string peer_token_file;
  bool peer_plaintext_token = false;

  absl::Duration drain_delay = absl::ZeroDuration();
  absl::Duration drain_timeout = absl::Seconds(30);

  LogFormat log_format = LogFormat::kJson;
  LogLevel log_level = LogLevel::kInfo;
  std::string log_file;
  bool log_documents = false;
};

// One line of the table that gives flags (--kv-cache-bytes), keys of the configuration file (kv_cache_bytes), environment
// variables (PRECIS_KV_CACHE_BYTES), defaults and help.
struct OptionSpec {
  std::string name;   // kv-cache-bytes
  std::string value;  // what --help shows for the value: BYTES
  std::string help;
  std::string group;
  bool repeated = false;  // each value is added; a source replaces what a weaker source gave
  bool is_switch = false;  // the flag alone means "on"
  std::function<absl::Status(ServerOptions&, std::string_view)> set;
  // The value as `set` takes it; one for each of a repeated option.
  std::function<std::vector<std::string>(const ServerOptions&)> get;
  // Empties a repeated option.
  std::function<void(ServerOptions&)> clear;
};

absl::Span<const OptionSpec> OptionTable();

std::string FlagName(const OptionSpec& spec);         // --kv-cache-bytes
std::string KeyName(const OptionSpec& spec);          // kv_cache_bytes
std::string EnvironmentName(const OptionSpec& spec);  // PRECIS_KV_CACHE_BYTES

struct Configuration {
  enum class Action : uint8_t { kServe, kHelp, kVersion, kDryRun };
  Action action = Action::kServe;
  ServerOptions options;
  ExperimentConfig experiments;
  std::string file;                           // the configuration file, if any
  std::map<std::string, std::string> origin;  // option name -> "flag", "environment" or "file"; absent: default
};

// Flag > environment > file > default. `arguments` is argv without the program; `environment` holds all variables. Unknown flags, keys and
// PRECIS_ variables are INVALID_ARGUMENT, with the nearest known name.
absl::StatusOr<Configuration> LoadConfiguration(absl::Span<const std::string> arguments,
                                                const std::map<std::string, std::string>& environment);

// What no single value shows: options that need each other, files that must be readable, backends and models of experiments' arms.
absl::Status ValidateConfiguration(const Configuration& configuration);

// --help, and the effective configuration as a file that --config reads (--dry-run).
std::string HelpText();
std::string DumpConfiguration(const Configuration& configuration);

}  // namespace precis::server

#endif  // PRECIS_SERVER_OPTIONS_H_
