#ifndef PRECIS_RUNTIME_TRAINING_FILES_H_
#define PRECIS_RUNTIME_TRAINING_FILES_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace precis::runtime {

// A file that is written from front to back. Errors (a full disk) name the path and the system's reason; Close syncs to the disk.
class FileWriter {
 public:
  static absl::StatusOr<FileWriter> Create(const std::string& path);
  FileWriter(FileWriter&& other) noexcept;
  ~FileWriter();  // closes without sync
  absl::Status Write(const void* data, int64_t bytes);
  absl::Status Close(bool sync = true);

 private:
  FileWriter(std::string path, int fd) : path_(std::move(path)), fd_(fd) {}
  std::string path_;
  int fd_;
  std::string buffer_;
  absl::Status Flush();
  absl::Status WriteAll(const char* data, int64_t bytes);
};

absl::Status WriteFile(const std::string& path, std::string_view bytes);  // synced
// Written beside, synced unless told otherwise, renamed over `path`: readers see the old file or the new one.
absl::Status ReplaceFile(const std::string& path, std::string_view bytes, bool sync = true);
absl::Status MakeDirectories(const std::string& path);
absl::Status SyncDirectory(const std::string& path);
// Replaces `to` in one step; a folder that is there is left at `from`.
absl::Status RenamePath(const std::string& from, const std::string& to);
// A symbolic link at `path`, replaced in one step.
absl::Status ReplaceLink(const std::string& path, const std::string& target);
void RemoveTree(const std::string& path);

}  // namespace precis::runtime

#endif  // PRECIS_RUNTIME_TRAINING_FILES_H_
