#ifndef PRECIS_SERVER_AUTH_H_
#define PRECIS_SERVER_AUTH_H_

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace precis::server {

// The tokens of a file: one a line; empty lines and lines that start with # are skipped. INVALID_ARGUMENT (never with
// a token in the message) if the file can't be read, holds none, or one is shorter than 16 characters.
absl::StatusOr<std::vector<std::string>> ReadTokens(const std::string& file);

// Checks bearer tokens (RFC 6750) against a file that is read again when it changes. A file that becomes unreadable or invalid leaves
// the tokens as they were. Thread-safe.
class Authenticator {
 public:
  static absl::StatusOr<std::unique_ptr<Authenticator>> Create(const std::string& file, absl::Duration reload);
  virtual ~Authenticator() = default;
  // `authorization` is the value of that metadata key, empty if there is none. UNAUTHENTICATED unless it carries a known token. Tokens are
  // compared in constant time.
  virtual absl::Status Check(std::string_view authorization) = 0;
  // What went wrong at the last reload; empty if nothing did.
  virtual std::string last_error() = 0;
};

}  // namespace precis::server

#endif  // PRECIS_SERVER_AUTH_H_
