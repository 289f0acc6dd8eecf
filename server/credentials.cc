#include "server/credentials.h"

#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_credentials_options.h>
#include <openssl/bio.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <cerrno>
#include <cstring>

#include "server/text.h"


namespace precis::server {
namespace {

template <auto Free>
struct Deleter {
  template <typename T>
  void operator()(T* p) const { Free(p); }
};
using Bio = std::unique_ptr<BIO, Deleter<BIO_free_all>>;
using Certificate = std::unique_ptr<X509, Deleter<X509_free>>;
using Key = std::unique_ptr<EVP_PKEY, Deleter<EVP_PKEY_free>>;

absl::StatusOr<Bio> Open(std::string_view flag, const std::string& file) {
  errno = 0;
  Bio bio(BIO_new_file(file.c_str(), "r"));
  if (bio != nullptr) return bio;
  return absl::InvalidArgumentError(StrCat(flag, "=", file, " can't be read: ", strerror(errno)));
}

absl::StatusOr<Certificate> ReadCertificate(std::string_view flag, const std::string& file) {
  absl::StatusOr<Bio> bio = Open(flag, file);
  if (!bio.ok()) return bio.status();
  Certificate certificate(PEM_read_bio_X509(bio->get(), nullptr, nullptr, nullptr));
  if (certificate != nullptr) return certificate;
  return absl::InvalidArgumentError(StrCat(flag, "=", file, " holds no certificate in PEM form"));
}

}  // namespace

absl::Status CheckTlsFiles(const ServerOptions& options) {
  if (options.tls_cert.empty()) return absl::OkStatus();
  absl::StatusOr<Certificate> certificate = ReadCertificate("--tls-cert", options.tls_cert);
  if (!certificate.ok()) return certificate.status();
  absl::StatusOr<Bio> bio = Open("--tls-key", options.tls_key);
  if (!bio.ok()) return bio.status();
  const auto no_passphrase = [](char*, int, int, void*) { return 0; };
  Key key(PEM_read_bio_PrivateKey(bio->get(), nullptr, no_passphrase, nullptr));
  if (key == nullptr) {
    return absl::InvalidArgumentError(
        StrCat("--tls-key=", options.tls_key, " holds no private key in PEM form without a passphrase"));
  }
  if (X509_check_private_key(certificate->get(), key.get()) != 1) {
    return absl::InvalidArgumentError(StrCat("--tls-key=", options.tls_key, " does not belong to --tls-cert=",
                                                   options.tls_cert));
  }
  if (options.tls_client_ca.empty()) return absl::OkStatus();
  return ReadCertificate("--tls-client-ca", options.tls_client_ca).status();
}

std::shared_ptr<grpc::ServerCredentials> MakeCredentials(const ServerOptions& options) {
  if (options.tls_cert.empty()) return grpc::InsecureServerCredentials();
  namespace tls = grpc::experimental;
  const bool mutual = !options.tls_client_ca.empty();
  const auto seconds = static_cast<unsigned>(absl::ToInt64Seconds(options.tls_reload));
  auto provider = mutual ? std::make_shared<tls::FileWatcherCertificateProvider>(
                               options.tls_key, options.tls_cert, options.tls_client_ca, seconds)
                         : std::make_shared<tls::FileWatcherCertificateProvider>(options.tls_key, options.tls_cert,
                                                                                seconds);
  tls::TlsServerCredentialsOptions tls_options(provider);
  tls_options.watch_identity_key_cert_pairs();
  if (mutual) {
    tls_options.watch_root_certs();
    tls_options.set_cert_request_type(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  } else {
    tls_options.set_cert_request_type(GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE);
  }
  return tls::TlsServerCredentials(tls_options);
}

}  // namespace precis::server
