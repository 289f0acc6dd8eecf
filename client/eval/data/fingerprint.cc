#include "client/eval/data/fingerprint.h"

#include <openssl/evp.h>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace precis::eval {

struct Fingerprint::Impl {
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  ~Impl() { EVP_MD_CTX_free(context); }
};

Fingerprint::Fingerprint() : impl_(std::make_unique<Impl>()) { EVP_DigestInit_ex(impl_->context, EVP_sha256(), nullptr); }
Fingerprint::~Fingerprint() = default;

Fingerprint& Fingerprint::Add(std::string_view text) {
  const std::string size = absl::StrCat(text.size(), ":");
  EVP_DigestUpdate(impl_->context, size.data(), size.size());
  EVP_DigestUpdate(impl_->context, text.data(), text.size());
  return *this;
}

std::string Fingerprint::Hex() {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  EVP_DigestFinal_ex(impl_->context, digest, &size);
  return absl::BytesToHexString(absl::string_view(reinterpret_cast<const char*>(digest), 16));
}

}  // namespace precis::eval
