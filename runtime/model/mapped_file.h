#ifndef PRECIS_RUNTIME_MODEL_MAPPED_FILE_H_
#define PRECIS_RUNTIME_MODEL_MAPPED_FILE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace precis::runtime {

// A regular file mapped read-only. Thread-safe for reading. A file that another process shortens while it
// is mapped faults on access, as with every mapped file: replace model files by rename, never in place.
class MappedFile {
 public:
  static absl::StatusOr<std::unique_ptr<MappedFile>> Open(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::string& path() const { return path_; }
  std::string_view bytes() const { return {data_, size_}; }

  // Gives the whole pages inside [data, data + bytes) back to the system: they no longer count as resident.
  // Reading them again is allowed, and reads the file.
  void Release(const char* data, int64_t bytes) const;

 private:
  MappedFile(std::string path, const char* data, size_t size)
      : path_(std::move(path)), data_(data), size_(size) {}

  const std::string path_;
  const char* const data_;
  const size_t size_;
};

// The bytes of a small file. INVALID_ARGUMENT if it can't be read or is larger than `limit_bytes`.
absl::StatusOr<std::string> ReadSmallFile(const std::string& path, int64_t limit_bytes);

// True if something of that name exists.
bool FileExists(const std::string& path);

}  // namespace precis::runtime

#endif  // PRECIS_RUNTIME_MODEL_MAPPED_FILE_H_
