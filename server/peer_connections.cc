#include "server/peer_connections.h"

#include <grpcpp/channel.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string_view>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/time/clock.h"
#include "server/text.h"

namespace precis::server {
namespace {

constexpr int kMaxStateBytes = 64 << 20;

bool IsThisMachine(std::string_view address) {
  return StartsWith(address, "unix:") || StartsWith(address, "127.") || StartsWith(address, "localhost:") || StartsWith(address, "[::1]:");
}

absl::StatusOr<std::string> ReadToken(const std::string& file) {
  errno = 0;
  std::ifstream stream(file, std::ios::binary);
  const std::string content{std::istreambuf_iterator<char>(stream), {}};
  const auto error = [&](std::string_view what) { return absl::InvalidArgumentError(StrCat("--peer-token-file=", file, what)); };
  if (!stream) return error(StrCat(" can't be read: ", strerror(errno)));
  std::string token(absl::StripAsciiWhitespace(content));
  if (token.empty()) return error(" is empty");
  // Anything else can't stand in a call's metadata.
  if (!std::all_of(token.begin(), token.end(), absl::ascii_isgraph)) return error(" must hold one token and nothing else");
  return token;
}

absl::Status Missing(std::string_view flag, std::string_view why) {
  return absl::InvalidArgumentError(StrCat("--experiment-peer needs ", flag, ": ", why));
}

absl::Status CheckPeerTls(const ServerOptions& options) {
  if (options.peer_tls_cert.empty() != options.peer_tls_key.empty()) {
    return absl::InvalidArgumentError("--peer-tls-cert and --peer-tls-key need each other; only one is given");
  }
  if (!options.peer_tls_ca.empty()) return ReadTlsMaterial(PeerTlsFiles(options)).status();
  if (options.peer_tls_cert.empty() && options.peer_tls_name.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError("--peer-tls-cert and --peer-tls-name need --peer-tls-ca, which turns TLS to peers on");
}

absl::Status CheckPeerToken(const ServerOptions& options) {
  if (options.peer_token_file.empty()) return absl::OkStatus();
  if (absl::Status s = ReadToken(options.peer_token_file).status(); !s.ok()) return s;
  if (!options.peer_tls_ca.empty() || options.peer_plaintext_token) return absl::OkStatus();
  for (const std::string& peer : options.experiment_peers) {
    if (IsThisMachine(peer)) continue;
    return absl::InvalidArgumentError(StrCat("--peer-token-file: the token would go to ", peer,
                                             " in plain text; give --peer-tls-ca, or --peer-plaintext-token where a mesh or tunnel encrypts"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckPeerOptions(const ServerOptions& options) {
  if (absl::Status s = CheckPeerTls(options); !s.ok()) return s;
  if (absl::Status s = CheckPeerToken(options); !s.ok()) return s;
  if (options.experiment_peers.empty()) return absl::OkStatus();
  if (!options.tls_cert.empty() && options.peer_tls_ca.empty()) return Missing("--peer-tls-ca", "this server speaks TLS (--tls-cert), and so do its peers");
  if (!options.tls_client_ca.empty() && options.peer_tls_cert.empty()) {
    return Missing("--peer-tls-cert and --peer-tls-key", "this server asks for a client's certificate (--tls-client-ca), and so do its peers");
  }
  if (!options.auth_tokens_file.empty() && options.peer_token_file.empty()) {
    return Missing("--peer-token-file", "this server asks for a token (--auth-tokens-file), and so do its peers");
  }
  return absl::OkStatus();
}

PeerConnections::PeerConnections(const ServerOptions& options, Logger* log)
    : options_(options), log_(log), watcher_(PeerTlsFiles(options), options.tls_reload, log) {}

std::shared_ptr<const PeerConnections::Peers> PeerConnections::peers() const {
  TlsMaterial material;
  absl::MutexLock lock(&mutex_);
  const bool changed = !options_.peer_tls_ca.empty() && watcher_.Poll(&material, absl::Now()) == TlsWatcher::Change::kNew;
  if (changed || peers_ == nullptr) peers_ = Connect(material);
  return peers_;
}

std::shared_ptr<const PeerConnections::Peers> PeerConnections::Connect(const TlsMaterial& material) const {
  auto credentials = grpc::InsecureChannelCredentials();
  // Without roots gRPC would trust the machine's: files that went away since they were checked must leave nobody to trust until they are back.
  const std::string roots = material.ca.empty() ? "none" : material.ca;
  if (!options_.peer_tls_ca.empty()) credentials = grpc::SslCredentials({roots, material.key, material.certificate_chain});
  auto peers = std::make_shared<Peers>();
  for (const std::string& address : options_.experiment_peers) {
    grpc::ChannelArguments arguments;
    arguments.SetMaxReceiveMessageSize(kMaxStateBytes);
    if (!options_.peer_tls_name.empty()) arguments.SetSslTargetNameOverride(options_.peer_tls_name);
    peers->push_back({address, precis::v1::Experiments::NewStub(grpc::CreateCustomChannel(address, credentials, arguments))});
  }
  return peers;
}

void PeerConnections::Prepare(grpc::ClientContext* context) const {
  if (options_.peer_token_file.empty()) return;
  const absl::StatusOr<std::string> read = ReadToken(options_.peer_token_file);
  absl::MutexLock lock(&mutex_);
  const std::string error(read.status().message());
  if (read.ok()) token_ = *read;
  if (!read.ok() && error != token_error_) {
    log_->Log(LogLevel::kWarning, "the token for peers can't be read now; the one in use stays", LogFields().Add("error", error));
  }
  token_error_ = error;
  if (!token_.empty()) context->AddMetadata("authorization", "Bearer " + token_);
}

}  // namespace precis::server
