#ifndef PRECIS_SERVER_AUTH_H_
#define PRECIS_SERVER_AUTH_H_

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/logger.h"
#include "server/token_file.h"

namespace precis::server {

// Checks bearer tokens (RFC 6750) against a file (see ReadTokens) that is read again when it changes. A file that becomes unreadable or
// invalid leaves the tokens as they were; the log says so. Thread-safe.
class Authenticator {
 public:
  // `log` outlives the authenticator and may be null.
  static absl::StatusOr<std::unique_ptr<Authenticator>> Create(const std::string& file, absl::Duration reload,
                                                               Logger* log = nullptr);
  virtual ~Authenticator() = default;
  // `authorization` is the value of that metadata key, empty if there is none. What its token allows; UNAUTHENTICATED unless it carries a
  // known one. Tokens are compared in constant time.
  virtual absl::StatusOr<std::shared_ptr<const Grant>> Check(std::string_view authorization) = 0;
  // What went wrong at the last reload; empty if nothing did.
  virtual std::string last_error() = 0;
};

}  // namespace precis::server

#endif  // PRECIS_SERVER_AUTH_H_
