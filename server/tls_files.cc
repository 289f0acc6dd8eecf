#include "server/tls_files.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <memory>
#include <string_view>
#include <tuple>
#include <utility>

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

absl::Status ReadFile(std::string_view flag, const std::string& file, std::string* content) {
  errno = 0;
  std::ifstream stream(file, std::ios::binary);
  content->assign(std::istreambuf_iterator<char>(stream), {});
  if (stream && !content->empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      StrCat(flag, "=", file, stream ? " is empty" : StrCat(" can't be read: ", strerror(errno))));
}

Bio Open(const std::string& pem) { return Bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()))); }

// Reads all certificates of a file, so that a chain that is cut off is noticed; returns the first.
absl::StatusOr<Certificate> ParseCertificates(std::string_view flag, const std::string& file, const std::string& pem) {
  const Bio bio = Open(pem);
  Certificate first;
  ERR_clear_error();
  while (Certificate next{PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr)}) {
    if (first == nullptr) first = std::move(next);
  }
  const bool at_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
  ERR_clear_error();
  if (first == nullptr) return absl::InvalidArgumentError(StrCat(flag, "=", file, " holds no certificate in PEM form"));
  if (at_end) return first;
  return absl::InvalidArgumentError(StrCat(flag, "=", file, " ends in a broken certificate"));
}

absl::StatusOr<Key> ParseKey(const std::string& file, const std::string& pem) {
  const Bio bio = Open(pem);
  const auto no_passphrase = [](char*, int, int, void*) { return 0; };
  Key key(PEM_read_bio_PrivateKey(bio.get(), nullptr, no_passphrase, nullptr));
  ERR_clear_error();
  if (key != nullptr) return key;
  return absl::InvalidArgumentError(
      StrCat("--tls-key=", file, " holds no private key in PEM form without a passphrase"));
}

absl::Status Check(const ServerOptions& options, const TlsMaterial& material) {
  absl::StatusOr<Certificate> certificate =
      ParseCertificates("--tls-cert", options.tls_cert, material.certificate_chain);
  if (!certificate.ok()) return certificate.status();
  absl::StatusOr<Key> key = ParseKey(options.tls_key, material.key);
  if (!key.ok()) return key.status();
  const bool match = X509_check_private_key(certificate->get(), key->get()) == 1;
  ERR_clear_error();
  if (!match) {
    return absl::InvalidArgumentError(
        StrCat("--tls-key=", options.tls_key, " does not belong to --tls-cert=", options.tls_cert));
  }
  if (options.tls_client_ca.empty()) return absl::OkStatus();
  return ParseCertificates("--tls-client-ca", options.tls_client_ca, material.client_ca).status();
}

bool Same(const TlsMaterial& a, const TlsMaterial& b) {
  return std::tie(a.certificate_chain, a.key, a.client_ca) == std::tie(b.certificate_chain, b.key, b.client_ca);
}

}  // namespace

absl::StatusOr<TlsMaterial> ReadTlsMaterial(const ServerOptions& options) {
  TlsMaterial material;
  if (absl::Status s = ReadFile("--tls-cert", options.tls_cert, &material.certificate_chain); !s.ok()) return s;
  if (absl::Status s = ReadFile("--tls-key", options.tls_key, &material.key); !s.ok()) return s;
  if (!options.tls_client_ca.empty()) {
    if (absl::Status s = ReadFile("--tls-client-ca", options.tls_client_ca, &material.client_ca); !s.ok()) return s;
  }
  if (absl::Status s = Check(options, material); !s.ok()) return s;
  return material;
}

TlsWatcher::Change TlsWatcher::Poll(TlsMaterial* material, absl::Time now) {
  absl::MutexLock lock(&mutex_);
  const Change no_news = loaded_ ? Change::kUnchanged : Change::kFailed;
  if (now < next_look_) return no_news;
  next_look_ = now + options_.tls_reload;
  absl::StatusOr<TlsMaterial> read = ReadTlsMaterial(options_);
  if (!read.ok()) {
    LogFailure(read.status());
    return no_news;
  }
  last_error_.clear();
  if (loaded_ && Same(*read, current_)) return no_news;
  if (loaded_ && log_ != nullptr) log_->Log(LogLevel::kInfo, "TLS files read again: new connections use the new certificate");
  loaded_ = true;
  current_ = *std::move(read);
  *material = current_;
  return Change::kNew;
}

void TlsWatcher::LogFailure(const absl::Status& status) {
  const std::string error(status.message());
  if (error == last_error_) return;
  last_error_ = error;
  if (log_ == nullptr) return;
  log_->Log(LogLevel::kWarning, "the TLS files can't be used now; the certificate in use stays, and they are looked at again",
            LogFields().Add("error", error));
}

}  // namespace precis::server
