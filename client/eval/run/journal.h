#ifndef PRECIS_CLIENT_EVAL_RUN_JOURNAL_H_
#define PRECIS_CLIENT_EVAL_RUN_JOURNAL_H_

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "client/cli/json.h"

namespace precis::eval {

// A file of JSON lines to append to. Each line is handed to the system whole, so that a killed program loses none that was
// written; a torn last line (a full disk, a power cut) is cut off when the file is opened again. Locked against a second process.
// Thread-safe.
class Journal {
 public:
  // Opens or makes the file and gives what it holds. FAILED_PRECONDITION: another process has it open.
  static absl::StatusOr<std::unique_ptr<Journal>> Open(const std::string& path, std::vector<cli::Json>* lines);
  ~Journal();
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;

  absl::Status Append(const cli::Json& line);

 private:
  Journal(int file, std::string path) : file_(file), path_(std::move(path)) {}
  absl::Mutex mutex_;
  const int file_;
  const std::string path_;
};

// Its lines without opening it to write.
absl::StatusOr<std::vector<cli::Json>> ReadJournal(const std::string& path);

}  // namespace precis::eval

#endif  // PRECIS_CLIENT_EVAL_RUN_JOURNAL_H_
