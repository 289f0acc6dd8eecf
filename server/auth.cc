#include "server/auth.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <array>
#include <fstream>
#include <iterator>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_split.h"
#include "absl/synchronization/mutex.h"
#include "server/text.h"

namespace precis::server {
namespace {

constexpr size_t kShortestToken = 16;

using Digest = std::array<unsigned char, 32>;

Digest Sha256(std::string_view text) {
  Digest digest = {};
  EVP_Digest(text.data(), text.size(), digest.data(), nullptr, EVP_sha256(), nullptr);
  return digest;
}

class FileAuthenticator : public Authenticator {
 public:
  FileAuthenticator(std::string file, absl::Duration reload, const std::vector<std::string>& tokens)
      : file_(std::move(file)), reload_(reload), next_reload_(absl::Now() + reload), digests_(Digests(tokens)) {}

  absl::Status Check(std::string_view authorization) override {
    if (authorization.empty()) {
      return absl::UnauthenticatedError(
          "the call carries no token; send the metadata 'authorization: Bearer TOKEN'");
    }
    if (!absl::StartsWithIgnoreCase(ToAbsl(authorization), "bearer ")) {
      return absl::UnauthenticatedError("the authorization metadata is not of the form 'Bearer TOKEN'");
    }
    authorization.remove_prefix(7);
    // Digests of equal size are compared, all of them, so that the time tells nothing about the tokens.
    const Digest given = Sha256(Strip(authorization));
    absl::MutexLock lock(&mutex_);
    ReloadIfDue();
    int found = 0;
    for (const Digest& digest : digests_) found |= CRYPTO_memcmp(given.data(), digest.data(), given.size()) == 0;
    if (found != 0) return absl::OkStatus();
    return absl::UnauthenticatedError("the bearer token is not known to this server; ask its operator for a new one");
  }

  std::string last_error() override {
    absl::MutexLock lock(&mutex_);
    return last_error_;
  }

 private:
  static std::vector<Digest> Digests(const std::vector<std::string>& tokens) {
    std::vector<Digest> digests;
    for (const std::string& token : tokens) digests.push_back(Sha256(token));
    return digests;
  }

  void ReloadIfDue() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    const absl::Time now = absl::Now();
    if (now < next_reload_) return;
    next_reload_ = now + reload_;
    absl::StatusOr<std::vector<std::string>> tokens = ReadTokens(file_);
    last_error_ = std::string(tokens.status().message());
    if (tokens.ok()) digests_ = Digests(*tokens);
  }

  const std::string file_;
  const absl::Duration reload_;
  absl::Mutex mutex_;
  absl::Time next_reload_ ABSL_GUARDED_BY(mutex_);
  std::vector<Digest> digests_ ABSL_GUARDED_BY(mutex_);
  std::string last_error_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace

absl::StatusOr<std::vector<std::string>> ReadTokens(const std::string& file) {
  std::ifstream stream(file, std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(stream)), std::istreambuf_iterator<char>());
  if (!stream) return absl::InvalidArgumentError(StrCat("--auth-tokens-file=", file, " can't be read"));
  std::vector<std::string> tokens;
  int line_number = 0;
  for (const absl::string_view piece : absl::StrSplit(text, '\n')) {
    ++line_number;
    const std::string_view line = Strip(ToStd(piece));
    if (line.empty() || line[0] == '#') continue;
    if (line.size() < kShortestToken) {
      return absl::InvalidArgumentError(StrCat(file, ":", line_number, ": a token of ", line.size(),
                                                     " characters; at least ", kShortestToken, " are needed"));
    }
    tokens.emplace_back(line);
  }
  if (!tokens.empty()) return tokens;
  return absl::InvalidArgumentError(
      StrCat("--auth-tokens-file=", file, " holds no token; write one a line, e.g. from openssl rand -hex 32"));
}

absl::StatusOr<std::unique_ptr<Authenticator>> Authenticator::Create(const std::string& file, absl::Duration reload) {
  absl::StatusOr<std::vector<std::string>> tokens = ReadTokens(file);
  if (!tokens.ok()) return tokens.status();
  return std::make_unique<FileAuthenticator>(file, reload, *tokens);
}

}  // namespace precis::server
