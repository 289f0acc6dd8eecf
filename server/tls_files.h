#ifndef PRECIS_SERVER_TLS_FILES_H_
#define PRECIS_SERVER_TLS_FILES_H_

#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/logger.h"
#include "server/options.h"

namespace precis::server {

// The contents of the TLS files, in PEM form.
struct TlsMaterial {
  std::string certificate_chain;
  std::string key;
  std::string client_ca;  // empty unless mutual TLS is asked for
};

// Reads --tls-cert, --tls-key and --tls-client-ca. INVALID_ARGUMENT if one can't be read or is not whole PEM, or if the key doesn't
// belong to the certificate.
absl::StatusOr<TlsMaterial> ReadTlsMaterial(const ServerOptions& options);

// Watches the TLS files. What is served is always a pair that was found whole and matching: while certificate and key are replaced one
// after the other, or a file is half written, the old ones stay. Thread-safe.
class TlsWatcher {
 public:
  enum class Change { kUnchanged, kNew, kFailed };

  // `log` outlives the watcher and may be null.
  TlsWatcher(const ServerOptions& options, Logger* log) : options_(options), log_(log) {}

  // Looks at the files, at most once in --tls-reload. kNew: `material` is set, the first time and whenever the files hold a new valid set;
  // kFailed: there is no valid set yet.
  Change Poll(TlsMaterial* material, absl::Time now);

 private:
  void LogFailure(const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const ServerOptions options_;
  Logger* const log_;
  absl::Mutex mutex_;
  absl::Time next_look_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
  bool loaded_ ABSL_GUARDED_BY(mutex_) = false;
  TlsMaterial current_ ABSL_GUARDED_BY(mutex_);
  std::string last_error_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace precis::server

#endif  // PRECIS_SERVER_TLS_FILES_H_
