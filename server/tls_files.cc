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

absl::Status ReadFile(const TlsFile& file, std::string* content) {
  if (file.path.empty()) return absl::OkStatus();
  errno = 0;
  std::ifstream stream(file.path, std::ios::binary);
  content->assign(std::istreambuf_iterator<char>(stream), {});
  if (stream && !content->empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      StrCat(file.flag, "=", file.path, stream ? " is empty" : StrCat(" can't be read: ", strerror(errno))));
}

Bio Open(const std::string& pem) { return Bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()))); }

// Reads all certificates of a file, so that a chain that is cut off is noticed; returns the first.
absl::StatusOr<Certificate> ParseCertificates(const TlsFile& file, const std::string& pem) {
  const Bio bio = Open(pem);
  Certificate first;
  ERR_clear_error();
  while (Certificate next{PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr)}) {
    if (first == nullptr) first = std::move(next);
  }
  const bool at_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
  ERR_clear_error();
  if (first == nullptr) return absl::InvalidArgumentError(StrCat(file.flag, "=", file.path, " holds no certificate in PEM form"));
  if (at_end) return first;
  return absl::InvalidArgumentError(StrCat(file.flag, "=", file.path, " ends in a broken certificate"));
}

absl::StatusOr<Key> ParseKey(const TlsFile& file, const std::string& pem) {
  const Bio bio = Open(pem);
  const auto no_passphrase = [](char*, int, int, void*) { return 0; };
  Key key(PEM_read_bio_PrivateKey(bio.get(), nullptr, no_passphrase, nullptr));
  ERR_clear_error();
  if (key != nullptr) return key;
  return absl::InvalidArgumentError(
      StrCat(file.flag, "=", file.path, " holds no private key in PEM form without a passphrase"));
}

absl::Status CheckPair(const TlsFiles& files, const TlsMaterial& material) {
  absl::StatusOr<Certificate> certificate = ParseCertificates(files.certificate, material.certificate_chain);
  if (!certificate.ok()) return certificate.status();
  absl::StatusOr<Key> key = ParseKey(files.key, material.key);
  if (!key.ok()) return key.status();
  const bool match = X509_check_private_key(certificate->get(), key->get()) == 1;
  ERR_clear_error();
  if (match) return absl::OkStatus();
  return absl::InvalidArgumentError(
      StrCat(files.key.flag, "=", files.key.path, " does not belong to ", files.certificate.flag, "=", files.certificate.path));
}

absl::Status Check(const TlsFiles& files, const TlsMaterial& material) {
  if (!files.certificate.path.empty()) {
    if (absl::Status s = CheckPair(files, material); !s.ok()) return s;
  }
  if (files.ca.path.empty()) return absl::OkStatus();
  return ParseCertificates(files.ca, material.ca).status();
}

bool Same(const TlsMaterial& a, const TlsMaterial& b) {
  return std::tie(a.certificate_chain, a.key, a.ca) == std::tie(b.certificate_chain, b.key, b.ca);
}

}  // namespace

TlsFiles ServerTlsFiles(const ServerOptions& options) {
  return {{"--tls-cert", options.tls_cert}, {"--tls-key", options.tls_key}, {"--tls-client-ca", options.tls_client_ca}};
}

TlsFiles PeerTlsFiles(const ServerOptions& options) {
  return {{"--peer-tls-cert", options.peer_tls_cert}, {"--peer-tls-key", options.peer_tls_key}, {"--peer-tls-ca", options.peer_tls_ca}};
}

absl::StatusOr<TlsMaterial> ReadTlsMaterial(const TlsFiles& files) {
  TlsMaterial material;
  if (absl::Status s = ReadFile(files.certificate, &material.certificate_chain); !s.ok()) return s;
  if (absl::Status s = ReadFile(files.key, &material.key); !s.ok()) return s;
  if (absl::Status s = ReadFile(files.ca, &material.ca); !s.ok()) return s;
  if (absl::Status s = Check(files, material); !s.ok()) return s;
  return material;
}

TlsWatcher::Change TlsWatcher::Poll(TlsMaterial* material, absl::Time now) {
  absl::MutexLock lock(&mutex_);
  const Change no_news = loaded_ ? Change::kUnchanged : Change::kFailed;
  if (now < next_look_) return no_news;
  next_look_ = now + reload_;
  absl::StatusOr<TlsMaterial> read = ReadTlsMaterial(files_);
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
