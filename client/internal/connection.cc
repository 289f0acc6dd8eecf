#include "client/internal/connection.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace precis::client {
namespace {

absl::StatusOr<std::string> ReadPem(const char* what, const std::string& path) {
  if (path.empty()) return std::string();
  std::ifstream file(path, std::ios::binary);
  std::stringstream content;
  if (!file || !(content << file.rdbuf())) {
    return absl::NotFoundError(absl::StrCat("can't read the ", what, " '", path, "': ", std::strerror(errno)));
  }
  if (!absl::StrContains(content.str(), "-----BEGIN ")) {
    return absl::InvalidArgumentError(absl::StrCat("the ", what, " '", path, "' is not in PEM form"));
  }
  return content.str();
}

bool IsThisMachine(absl::string_view address) {
  for (absl::string_view prefix : {"127.", "localhost:", "[::1]:", "unix:", "ipv4:127.", "ipv6:[::1]"}) {
    if (absl::StartsWith(address, prefix)) return true;
  }
  return false;
}

absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> Credentials(const TlsOptions& tls) {
  if (!tls.enabled) return grpc::InsecureChannelCredentials();
  grpc::SslCredentialsOptions options;
  auto ca = ReadPem("CA certificate", tls.ca_file);
  auto certificate = ReadPem("client certificate", tls.certificate_file);
  auto key = ReadPem("client key", tls.key_file);
  for (const auto* part : {&ca, &certificate, &key}) {
    if (!part->ok()) return part->status();
  }
  options.pem_root_certs = *ca;
  options.pem_cert_chain = *certificate;
  options.pem_private_key = *key;
  return grpc::SslCredentials(options);
}

}  // namespace

absl::Status ValidateConnectionOptions(const ConnectionOptions& options) {
  if (options.address.empty()) {
    return absl::InvalidArgumentError("the server's address is empty: give HOST:PORT or unix:PATH");
  }
  const HedgeOptions& hedge = options.hedge;
  if (hedge.delay <= absl::ZeroDuration() || !(hedge.budget > 0 && hedge.budget <= 1) || !(hedge.burst >= 1)) {
    return absl::InvalidArgumentError("hedging: the delay must be above 0, the budget above 0 and at most 1, the burst at least 1");
  }
  const TlsOptions& tls = options.tls;
  if (tls.certificate_file.empty() != tls.key_file.empty()) {
    return absl::InvalidArgumentError("mutual TLS needs both the client's certificate and its key");
  }
  if (!tls.enabled && !(tls.ca_file + tls.certificate_file + tls.server_name).empty()) {
    return absl::InvalidArgumentError("certificates are given but TLS is off: set tls.enabled");
  }
  if (!options.bearer_token.empty() && !tls.enabled && !options.allow_plaintext_token &&
      !IsThisMachine(options.address)) {
    return absl::InvalidArgumentError(
        absl::StrCat("the token would go to ", options.address,
                     " in plain text: use TLS, or allow it explicitly (allow_plaintext_token)"));
  }
  if (options.bearer_token.find_first_of("\r\n") != std::string::npos) {
    return absl::InvalidArgumentError("the token holds a line break");
  }
  if (options.retry.max_attempts < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("max_attempts is ", options.retry.max_attempts, "; it must be at least 1"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<grpc::Channel>> Connect(const ConnectionOptions& options) {
  absl::Status valid = ValidateConnectionOptions(options);
  if (!valid.ok()) return valid;
  auto credentials = Credentials(options.tls);
  if (!credentials.ok()) return credentials.status();
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(options.max_message_bytes);
  arguments.SetMaxSendMessageSize(options.max_message_bytes);
  arguments.SetUserAgentPrefix("precis-client/0.1");
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);  // we retry ourselves, with a budget
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 60000);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 5000);
  arguments.SetLoadBalancingPolicyName("round_robin");
  if (!options.tls.server_name.empty()) arguments.SetSslTargetNameOverride(options.tls.server_name);
  // Two clients of one process get two connections.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return grpc::CreateCustomChannel(options.address, *credentials, arguments);
}

}  // namespace precis::client
