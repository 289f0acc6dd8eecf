#include "client/cli/connection_flags.h"

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "client/cli/files.h"

namespace precis::cli {

const CLI::Validator kPositiveDuration(
    [](std::string& text) -> std::string {
      absl::Duration duration;
      if (absl::ParseDuration(text, &duration) && duration > absl::ZeroDuration()) return "";
      return absl::StrCat("'", text, "' is no duration above zero; give for instance 30s, 1m30s or 250ms");
    },
    "DURATION");

void ConnectionFlags::AddTo(CLI::App* app) {
  const std::string group = "Connection";
  app->add_option("--server", server, "HOST:PORT, unix:PATH or another gRPC target")
      ->envname("PRECIS_SERVER")
      ->capture_default_str()
      ->group(group);
  app->add_flag("--tls", tls, "Use TLS (implied by the other --tls flags)")->group(group);
  app->add_option("--tls-ca", tls_ca, "PEM file of the CA to trust; the system's if not given")->group(group);
  app->add_option("--tls-cert", tls_cert, "PEM file of the client's certificate, for mutual TLS")->group(group);
  app->add_option("--tls-key", tls_key, "PEM file of the client's key, for mutual TLS")->group(group);
  app->add_option("--tls-server-name", tls_server_name, "Name to expect in the server's certificate")
      ->group(group);
  app->add_option("--token-file", token_file, "File that holds the bearer token")->group(group);
  app->add_flag("--allow-plaintext-token", allow_plaintext_token,
                "Send the token without TLS to another machine too")
      ->group(group);
  app->add_option("--deadline", deadline, "Of each request, retries included")
      ->check(kPositiveDuration)
      ->capture_default_str()
      ->group(group);
  app->add_option("--retries", retries, "How often to try again what failed for want of a server or of room")
      ->check(CLI::Range(0, 100))
      ->capture_default_str()
      ->group(group);
}

absl::StatusOr<client::ConnectionOptions> ConnectionFlags::ToOptions() const {
  client::ConnectionOptions options;
  options.address = server;
  options.tls.ca_file = tls_ca;
  options.tls.certificate_file = tls_cert;
  options.tls.key_file = tls_key;
  options.tls.server_name = tls_server_name;
  options.tls.enabled = tls || !(tls_ca + tls_cert + tls_key + tls_server_name).empty();
  options.allow_plaintext_token = allow_plaintext_token;
  options.retry.max_attempts = retries + 1;
  options.max_message_bytes = 2 * kMaxDocumentBytes;
  if (token_file.empty()) return options;
  auto token = ReadInput(token_file);
  if (!token.ok()) return token.status();
  options.bearer_token = std::string(absl::StripAsciiWhitespace(*token));
  if (options.bearer_token.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("--token-file=", token_file, " is empty"));
  }
  return options;
}

absl::Duration ConnectionFlags::Deadline() const {
  absl::Duration duration = absl::Seconds(60);
  absl::ParseDuration(deadline, &duration);
  return duration;
}

}  // namespace precis::cli
