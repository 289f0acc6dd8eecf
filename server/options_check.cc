#include <sys/stat.h>

#include "absl/strings/numbers.h"
#include "kernels/attention.h"
#include "kernels/device.h"
#include "server/auth.h"
#include "server/credentials.h"
#include "server/experiment_manager.h"
#include "server/experiments/experiment_yaml.h"
#include "server/options.h"
#include "server/peer_connections.h"
#include "server/text.h"

namespace precis::server {
namespace {

absl::Status CheckAddress(std::string_view flag, std::string_view address) {
  if (StartsWith(address, "unix:") && flag == "--listen") return absl::OkStatus();
  const size_t colon = address.rfind(':');
  int port = -1;
  if (colon != std::string_view::npos && colon > 0 && absl::SimpleAtoi(ToAbsl(address.substr(colon + 1)), &port) &&
      port >= 0 && port <= 65535) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(StrCat(flag, "=", address,
                                                 ": expected HOST:PORT with a port from 0 to 65535, such as "
                                                 "127.0.0.1:50051, 0.0.0.0:0 or [::]:50051"));
}

absl::Status CheckModels(const ServerOptions& options) {
  if (options.models.empty()) {
    return absl::InvalidArgumentError("no model is given; add --model=NAME=DIR (or model: in the file, PRECIS_MODEL)");
  }
  for (const runtime::ModelSpec& model : options.models) {
    const std::string config = StrCat(model.directory, "/config.json");
    struct stat info = {};
    if (stat(config.c_str(), &info) == 0) continue;
    return absl::InvalidArgumentError(StrCat("--model=", model.name, "=", model.directory, ": there is no ",
                                                   config, "; expected a model folder in Hugging Face form"));
  }
  return absl::OkStatus();
}

absl::Status CheckSecurity(const ServerOptions& options) {
  if (options.tls_cert.empty() != options.tls_key.empty()) {
    return absl::InvalidArgumentError("--tls-cert and --tls-key need each other; only one is given");
  }
  if (!options.tls_client_ca.empty() && options.tls_cert.empty()) {
    return absl::InvalidArgumentError("--tls-client-ca needs --tls-cert and --tls-key");
  }
  if (absl::Status s = CheckTlsFiles(options); !s.ok()) return s;
  if (options.auth_tokens_file.empty()) return absl::OkStatus();
  return ReadTokens(options.auth_tokens_file).status();
}

absl::Status CheckIsa(const ServerOptions& options) {
  if (options.cpu_isa == "auto") return absl::OkStatus();
  absl::StatusOr<kernels::CpuIsa> isa = kernels::ParseCpuIsa(options.cpu_isa);
  if (!isa.ok()) return isa.status();
  std::string names;
  for (const kernels::CpuIsa supported : kernels::SupportedCpuIsas()) {
    if (supported == *isa) return absl::OkStatus();
    StrAppend(&names, names.empty() ? "" : ", ", kernels::CpuIsaName(supported));
  }
  return absl::InvalidArgumentError(
      StrCat("--cpu-isa=", options.cpu_isa, ": this machine runs ", names, " only"));
}

bool HasModel(const ServerOptions& options, std::string_view name) {
  for (const runtime::ModelSpec& spec : options.models) {
    if (spec.name == name) return true;
  }
  return false;
}

absl::Status CheckExperiments(const Configuration& configuration) {
  const ServerOptions& options = configuration.options;
  ExperimentConfig config = configuration.experiments;
  std::string where = configuration.file;
  if (!options.experiments_file.empty()) {
    if (!config.experiments.empty()) {
      return absl::InvalidArgumentError(StrCat("--experiments-file=", options.experiments_file, " is given, and ", configuration.file,
                                               " has a section experiments: too; keep one of them"));
    }
    where = options.experiments_file;
    absl::StatusOr<std::string> text = ReadConfigurationFile(where, "--experiments-file");
    if (!text.ok()) return text.status();
    absl::StatusOr<ExperimentConfig> parsed = ParseExperimentsText(*text, where, /*alone=*/true);
    if (!parsed.ok()) return parsed.status();
    config = *std::move(parsed);
  }
  return CheckArmNames(config, where, [&](std::string_view name) { return HasModel(options, name); });
}

}  // namespace

absl::Status ValidateConfiguration(const Configuration& configuration) {
  const ServerOptions& options = configuration.options;
  if (absl::Status s = CheckAddress("--listen", options.listen); !s.ok()) return s;
  if (options.metrics_listen != "off") {
    if (absl::Status s = CheckAddress("--metrics-listen", options.metrics_listen); !s.ok()) return s;
  }
  if (options.max_message_bytes < options.max_document_bytes) {
    return absl::InvalidArgumentError(
        StrCat("--max-message-bytes=", options.max_message_bytes, " is less than --max-document-bytes=",
                     options.max_document_bytes, "; such documents could never arrive"));
  }
  if (absl::Status s = CheckModels(options); !s.ok()) return s;
  if (absl::Status s = CheckSecurity(options); !s.ok()) return s;
  if (absl::Status s = CheckPeerOptions(options); !s.ok()) return s;
  if (absl::Status s = CheckIsa(options); !s.ok()) return s;
  return CheckExperiments(configuration);
}

}  // namespace precis::server
