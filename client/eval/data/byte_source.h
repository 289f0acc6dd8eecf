#ifndef PRECIS_CLIENT_EVAL_DATA_BYTE_SOURCE_H_
#define PRECIS_CLIENT_EVAL_DATA_BYTE_SOURCE_H_

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace precis::eval {

// A stream of bytes. Not thread-safe.
class ByteSource {
 public:
  virtual ~ByteSource() = default;
  // Up to `size` bytes, 0 at the end. DATA_LOSS where compressed data is damaged or cut off.
  virtual absl::StatusOr<size_t> Read(char* buffer, size_t size) = 0;
};

// The file's content, unpacked if it begins as gzip, xz or zstd do (whatever its name): zlib, liblzma, libzstd. Files of several such
// streams, one after the other, are read whole.
absl::StatusOr<std::unique_ptr<ByteSource>> OpenBytes(const std::string& path);

// The same of bytes in memory, which must outlive it.
std::unique_ptr<ByteSource> BytesOf(std::string_view bytes);
std::unique_ptr<ByteSource> Unpack(std::unique_ptr<ByteSource> packed);

// The rest of a source; RESOURCE_EXHAUSTED if it has more than `most_bytes`.
absl::StatusOr<std::string> ReadAll(ByteSource* source, size_t most_bytes);

// What is read of one row or document at most: 64 MiB, as the command line does.
inline constexpr size_t kMostRowBytes = 64 << 20;

// Lines of a source without their \n (and \r before it). A longer line than kMostRowBytes is cut and marked.
class LineReader {
 public:
  explicit LineReader(ByteSource* source) : source_(source) {}
  // False at the end.
  absl::StatusOr<bool> Next(std::string* line, bool* too_long);

 private:
  ByteSource* const source_;
  std::string buffer_ = std::string(1 << 16, '\0');
  size_t begin_ = 0, end_ = 0;
};

}  // namespace precis::eval

#endif  // PRECIS_CLIENT_EVAL_DATA_BYTE_SOURCE_H_
