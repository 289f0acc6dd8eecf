#include "client/eval/data/byte_source.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "client/eval/data/unpackers.h"

namespace precis::eval {
namespace {

class FileSource final : public ByteSource {
 public:
  FileSource(std::FILE* file, std::string path) : file_(file), path_(std::move(path)) {}
  ~FileSource() override { std::fclose(file_); }
  FileSource(const FileSource&) = delete;
  FileSource& operator=(const FileSource&) = delete;

  absl::StatusOr<size_t> Read(char* buffer, size_t size) override {
    const size_t read = std::fread(buffer, 1, size, file_);
    if (read < size && std::ferror(file_)) return absl::DataLossError(absl::StrCat("can't read '", path_, "': ", std::strerror(errno)));
    return read;
  }

 private:
  std::FILE* const file_;
  const std::string path_;
};

class MemorySource final : public ByteSource {
 public:
  explicit MemorySource(std::string_view bytes) : bytes_(bytes) {}
  absl::StatusOr<size_t> Read(char* buffer, size_t size) override {
    const size_t read = std::min(size, bytes_.size());
    std::copy_n(bytes_.data(), read, buffer);
    bytes_.remove_prefix(read);
    return read;
  }

 private:
  std::string_view bytes_;
};

// Gives back the bytes that were read to see what the source is.
class Prefixed final : public ByteSource {
 public:
  Prefixed(std::string prefix, std::unique_ptr<ByteSource> rest) : prefix_(std::move(prefix)), rest_(std::move(rest)) {}
  absl::StatusOr<size_t> Read(char* buffer, size_t size) override {
    if (at_ == prefix_.size()) return rest_->Read(buffer, size);
    const size_t read = std::min(size, prefix_.size() - at_);
    std::copy_n(prefix_.data() + at_, read, buffer);
    at_ += read;
    return read;
  }

 private:
  const std::string prefix_;
  size_t at_ = 0;
  std::unique_ptr<ByteSource> rest_;
};

class Failing final : public ByteSource {
 public:
  explicit Failing(absl::Status status) : status_(std::move(status)) {}
  absl::StatusOr<size_t> Read(char*, size_t) override { return status_; }

 private:
  const absl::Status status_;
};

}  // namespace

std::unique_ptr<ByteSource> BytesOf(std::string_view bytes) { return std::make_unique<MemorySource>(bytes); }

std::unique_ptr<ByteSource> Unpack(std::unique_ptr<ByteSource> packed) {
  std::string prefix(6, '\0');
  size_t size = 0;
  while (size < prefix.size()) {
    const auto read = packed->Read(prefix.data() + size, prefix.size() - size);
    if (!read.ok()) return std::make_unique<Failing>(read.status());
    if (*read == 0) break;
    size += *read;
  }
  prefix.resize(size);
  const std::string_view magic = prefix;
  auto whole = std::make_unique<Prefixed>(prefix, std::move(packed));
  if (magic.starts_with("\x1F\x8B")) return MakeGzipSource(std::move(whole));
  if (magic.starts_with(std::string_view("\xFD" "7zXZ\0", 6))) return MakeXzSource(std::move(whole));
  if (magic.starts_with("\x28\xB5\x2F\xFD")) return MakeZstdSource(std::move(whole));
  return whole;
}

absl::StatusOr<std::unique_ptr<ByteSource>> OpenBytes(const std::string& path) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) return absl::InvalidArgumentError(absl::StrCat("'", path, "' is a directory"));
  std::FILE* file = std::fopen(path.c_str(), "rb");
  if (file == nullptr) return absl::NotFoundError(absl::StrCat("can't read '", path, "': ", std::strerror(errno)));
  return Unpack(std::make_unique<FileSource>(file, path));
}

absl::StatusOr<std::string> ReadAll(ByteSource* source, size_t most_bytes) {
  std::string content;
  char buffer[1 << 15];
  while (true) {
    const auto read = source->Read(buffer, sizeof(buffer));
    if (!read.ok()) return read.status();
    if (*read == 0) return content;
    content.append(buffer, *read);
    if (content.size() > most_bytes) return absl::ResourceExhaustedError(absl::StrCat("has more than ", most_bytes, " bytes, the most that is read"));
  }
}

absl::StatusOr<bool> LineReader::Next(std::string* line, bool* too_long) {
  line->clear();
  *too_long = false;
  bool any = false;
  while (true) {
    if (begin_ == end_) {
      const auto read = source_->Read(buffer_.data(), buffer_.size());
      if (!read.ok()) return read.status();
      if (*read == 0) return any;
      begin_ = 0;
      end_ = *read;
    }
    any = true;
    const char* const start = buffer_.data() + begin_;
    const auto* const newline = static_cast<const char*>(std::memchr(start, '\n', end_ - begin_));
    const size_t size = newline == nullptr ? end_ - begin_ : static_cast<size_t>(newline - start);
    const size_t kept = std::min(size, kMostRowBytes - line->size());
    *too_long = *too_long || kept < size;
    line->append(start, kept);
    begin_ += size;
    if (newline == nullptr) continue;
    ++begin_;
    if (line->ends_with('\r')) line->pop_back();
    return true;
  }
}

}  // namespace precis::eval
