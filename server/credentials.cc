#include "server/credentials.h"

#include <grpc/grpc.h>
#include <grpc/grpc_security.h>

#include <string>
#include <utility>

#include "absl/time/clock.h"
#include "server/tls_files.h"

namespace precis::server {
namespace {

// gRPC's C API asks for the certificate at each new connection and keeps the old one if there is no new one; the C++ API's own file
// watcher hands on a key and a certificate that don't belong together, and then every handshake fails.
class ReloadingTlsCredentials final : public grpc::ServerCredentials {
 public:
  ReloadingTlsCredentials(const ServerOptions& options, Logger* log) : watcher_(ServerTlsFiles(options), options.tls_reload, log) {
    const auto client_certificate = options.tls_client_ca.empty()
                                        ? GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE
                                        : GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY;
    credentials_ = grpc_ssl_server_credentials_create_with_options(
        grpc_ssl_server_credentials_create_options_using_config_fetcher(client_certificate, Fetch, this));
  }
  ~ReloadingTlsCredentials() override { grpc_server_credentials_release(credentials_); }

  void SetAuthMetadataProcessor(const std::shared_ptr<grpc::AuthMetadataProcessor>&) override {}  // tokens: see auth.h

 private:
  int AddPortToServer(const std::string& address, grpc_server* server) override {
    return grpc_server_add_http2_port(server, address.c_str(), credentials_);
  }

  static grpc_ssl_certificate_config_reload_status Fetch(void* self, grpc_ssl_server_certificate_config** config) {
    TlsMaterial material;
    switch (static_cast<ReloadingTlsCredentials*>(self)->watcher_.Poll(&material, absl::Now())) {
      case TlsWatcher::Change::kUnchanged: return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_UNCHANGED;
      case TlsWatcher::Change::kFailed: return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_FAIL;
      case TlsWatcher::Change::kNew: break;
    }
    const grpc_ssl_pem_key_cert_pair pair = {material.key.c_str(), material.certificate_chain.c_str()};
    // gRPC insists on roots here, even where no client certificate is asked for and they mean nothing.
    const std::string& roots = material.ca.empty() ? material.certificate_chain : material.ca;
    *config = grpc_ssl_server_certificate_config_create(roots.c_str(), &pair, 1);
    return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_NEW;
  }

  TlsWatcher watcher_;
  grpc_server_credentials* credentials_ = nullptr;
};

}  // namespace

absl::Status CheckTlsFiles(const ServerOptions& options) {
  return options.tls_cert.empty() ? absl::OkStatus() : ReadTlsMaterial(ServerTlsFiles(options)).status();
}

std::shared_ptr<grpc::ServerCredentials> MakeCredentials(const ServerOptions& options, Logger* log) {
  if (options.tls_cert.empty()) return grpc::InsecureServerCredentials();
  return std::make_shared<ReloadingTlsCredentials>(options, log);
}

}  // namespace precis::server
