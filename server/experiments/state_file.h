#ifndef PRECIS_SERVER_EXPERIMENTS_STATE_FILE_H_
#define PRECIS_SERVER_EXPERIMENTS_STATE_FILE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace precis::server {

// An assigned request whose later outcomes may still come.
struct AssignedRequest {
  std::string key;          // 16 bytes: a digest of the request id
  std::string experiment, fingerprint;
  int arm = 0;
  int group = 0;
  double prompt_tokens = 0;
  int64_t unix_seconds = 0;
  uint32_t recorded = 0;    // bit i: outcome i is counted
};

struct StoredResults {
  std::string experiment, fingerprint, bytes;
};

struct StoredStop {
  std::string experiment, fingerprint, arm;  // arm empty: all
  std::string guardrail, detail;
  int64_t unix_seconds = 0;
};

struct StoredState {
  std::vector<StoredResults> results;
  std::vector<AssignedRequest> requests;
  std::vector<StoredStop> stops;
};

// What outlives the process, in one SQLite database: a change is written whole or not at all, also if the process or the machine dies in the middle
// (write-ahead log, synchronous=FULL). One process at a time. Not thread-safe.
class StateFile {
 public:
  // Makes the file if there is none. FAILED_PRECONDITION if another process holds it, INVALID_ARGUMENT if it is no such file or cannot be made.
  static absl::StatusOr<std::unique_ptr<StateFile>> Open(const std::string& path);
  virtual ~StateFile() = default;

  virtual absl::StatusOr<StoredState> Load() = 0;
  // One transaction: results and requests replace those of the same key; stops are added; requests before `expired` are removed.
  virtual absl::Status Save(const StoredState& changes, int64_t expired_unix_seconds) = 0;
};

}  // namespace precis::server

#endif  // PRECIS_SERVER_EXPERIMENTS_STATE_FILE_H_
