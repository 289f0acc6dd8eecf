#include "server/auth.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <array>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "server/text.h"

namespace precis::server {
namespace {

using Digest = std::array<unsigned char, 32>;

Digest Sha256(std::string_view text) {
  Digest digest = {};
  EVP_Digest(text.data(), text.size(), digest.data(), nullptr, EVP_sha256(), nullptr);
  return digest;
}

struct Known {
  Digest digest;
  std::shared_ptr<const Grant> grant;
};

std::vector<Known> ToKnown(std::vector<TokenEntry> entries) {
  std::vector<Known> known;
  for (TokenEntry& entry : entries) {
    known.push_back({Sha256(entry.token), std::make_shared<const Grant>(std::move(entry.grant))});
  }
  return known;
}

class FileAuthenticator : public Authenticator {
 public:
  FileAuthenticator(std::string file, absl::Duration reload, Logger* log, std::vector<TokenEntry> entries)
      : file_(std::move(file)),
        reload_(reload),
        log_(log),
        next_reload_(absl::Now() + reload),
        known_(ToKnown(std::move(entries))) {}

  absl::StatusOr<std::shared_ptr<const Grant>> Check(std::string_view authorization) override {
    if (authorization.empty()) {
      return absl::UnauthenticatedError("the call carries no token; send the metadata 'authorization: Bearer TOKEN'");
    }
    if (!absl::StartsWithIgnoreCase(ToAbsl(authorization), "bearer ")) {
      return absl::UnauthenticatedError("the authorization metadata is not of the form 'Bearer TOKEN'");
    }
    authorization.remove_prefix(7);
    // Digests of equal size are compared, all of them, so that the time tells nothing about the tokens.
    const Digest given = Sha256(Strip(authorization));
    absl::MutexLock lock(&mutex_);
    ReloadIfDue();
    std::shared_ptr<const Grant> grant;
    for (const Known& known : known_) {
      if (CRYPTO_memcmp(given.data(), known.digest.data(), given.size()) == 0) grant = known.grant;
    }
    if (grant != nullptr) return grant;
    return absl::UnauthenticatedError("the bearer token is not known to this server; ask its operator for a new one");
  }

  std::string last_error() override {
    absl::MutexLock lock(&mutex_);
    return last_error_;
  }

 private:
  void ReloadIfDue() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    const absl::Time now = absl::Now();
    if (now < next_reload_) return;
    next_reload_ = now + reload_;
    absl::StatusOr<std::vector<TokenEntry>> entries = ReadTokens(file_);
    const std::string error(entries.status().message());
    if (!error.empty() && error != last_error_ && log_ != nullptr) {
      log_->Log(LogLevel::kWarning, "the tokens file can't be used now; the tokens in use stay, and it is looked at again",
                LogFields().Add("error", error));
    }
    last_error_ = error;
    if (entries.ok()) known_ = ToKnown(*std::move(entries));
  }

  const std::string file_;
  const absl::Duration reload_;
  Logger* const log_;
  absl::Mutex mutex_;
  absl::Time next_reload_ ABSL_GUARDED_BY(mutex_);
  std::vector<Known> known_ ABSL_GUARDED_BY(mutex_);
  std::string last_error_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace

absl::StatusOr<std::unique_ptr<Authenticator>> Authenticator::Create(const std::string& file, absl::Duration reload,
                                                                     Logger* log) {
  absl::StatusOr<std::vector<TokenEntry>> entries = ReadTokens(file);
  if (!entries.ok()) return entries.status();
  return std::make_unique<FileAuthenticator>(file, reload, log, *std::move(entries));
}

}  // namespace precis::server
