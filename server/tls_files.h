#ifndef PRECIS_SERVER_TLS_FILES_H_
#define PRECIS_SERVER_TLS_FILES_H_

#include <string>
#include <string_view>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/logger.h"
#include "server/options.h"

namespace precis::server {

// A file by the flag that names it; an empty path: there is none.
struct TlsFile {
  std::string_view flag;
  std::string path;
};

struct TlsFiles {
  TlsFile certificate, key;  // both or neither
  TlsFile ca;
};
TlsFiles ServerTlsFiles(const ServerOptions& options);  // --tls-cert, --tls-key, --tls-client-ca
TlsFiles PeerTlsFiles(const ServerOptions& options);    // --peer-tls-cert, --peer-tls-key, --peer-tls-ca

// The contents of the TLS files, in PEM form; empty where there is no file.
struct TlsMaterial {
  std::string certificate_chain;
  std::string key;
  std::string ca;
};

// INVALID_ARGUMENT if a file can't be read or is not whole PEM, or if the key doesn't belong to the certificate.
absl::StatusOr<TlsMaterial> ReadTlsMaterial(const TlsFiles& files);

// Watches the TLS files. What is served is always a pair that was found whole and matching: while certificate and key are replaced one
// after the other, or a file is half written, the old ones stay. Thread-safe.
class TlsWatcher {
 public:
  enum class Change { kUnchanged, kNew, kFailed };

  // Looks at the files at most once in `reload`. `log` outlives the watcher and may be null.
  TlsWatcher(TlsFiles files, absl::Duration reload, Logger* log) : files_(std::move(files)), reload_(reload), log_(log) {}

  // Looks at the files. kNew: `material` is set, the first time and whenever the files hold a new valid set;
  // kFailed: there is no valid set yet.
  Change Poll(TlsMaterial* material, absl::Time now);

 private:
  void LogFailure(const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const TlsFiles files_;
  const absl::Duration reload_;
  Logger* const log_;
  absl::Mutex mutex_;
  absl::Time next_look_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
  bool loaded_ ABSL_GUARDED_BY(mutex_) = false;
  TlsMaterial current_ ABSL_GUARDED_BY(mutex_);
  std::string last_error_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace precis::server

#endif  // PRECIS_SERVER_TLS_FILES_H_
