#include "runtime/training/files.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

#include "runtime/model/status_macros.h"
#include "runtime/model/text.h"

namespace precis::runtime {
namespace {

constexpr size_t kBufferBytes = size_t{1} << 20;

absl::Status SystemError(const std::string& path, std::string_view what, int error) {
  const std::string text = Cat(path, ": ", what, ": ", std::strerror(error));
  if (error == ENOSPC || error == EDQUOT || error == EFBIG) return absl::ResourceExhaustedError(text);
  return error == EACCES || error == EPERM || error == EROFS ? absl::PermissionDeniedError(text) : absl::UnavailableError(text);
}

}  // namespace

absl::StatusOr<FileWriter> FileWriter::Create(const std::string& path) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) return SystemError(path, "cannot be created", errno);
  return FileWriter(path, fd);
}

FileWriter::FileWriter(FileWriter&& other) noexcept : path_(std::move(other.path_)), fd_(std::exchange(other.fd_, -1)), buffer_(std::move(other.buffer_)) {}

FileWriter::~FileWriter() {
  if (fd_ >= 0) close(fd_);
}

absl::Status FileWriter::WriteAll(const char* data, int64_t bytes) {
  while (bytes > 0) {
    const ssize_t written = write(fd_, data, static_cast<size_t>(bytes));
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return SystemError(path_, "cannot be written", written < 0 ? errno : ENOSPC);
    data += written;
    bytes -= written;
  }
  return absl::OkStatus();
}

absl::Status FileWriter::Flush() {
  const absl::Status status = WriteAll(buffer_.data(), static_cast<int64_t>(buffer_.size()));
  buffer_.clear();
  return status;
}

absl::Status FileWriter::Write(const void* data, int64_t bytes) {
  if (buffer_.size() + static_cast<size_t>(bytes) <= kBufferBytes) {
    buffer_.append(static_cast<const char*>(data), static_cast<size_t>(bytes));
    return absl::OkStatus();
  }
  PRECIS_TRY(Flush());
  return WriteAll(static_cast<const char*>(data), bytes);
}

absl::Status FileWriter::Close(bool sync) {
  PRECIS_TRY(Flush());
  if (sync && fsync(fd_) != 0) return SystemError(path_, "cannot be synced", errno);
  if (close(std::exchange(fd_, -1)) != 0) return SystemError(path_, "cannot be closed", errno);
  return absl::OkStatus();
}

namespace {

absl::Status WriteWhole(const std::string& path, std::string_view bytes, bool sync) {
  PRECIS_ASSIGN(FileWriter file, FileWriter::Create(path));
  PRECIS_TRY(file.Write(bytes.data(), static_cast<int64_t>(bytes.size())));
  return file.Close(sync);
}

}  // namespace

absl::Status WriteFile(const std::string& path, std::string_view bytes) { return WriteWhole(path, bytes, true); }

absl::Status ReplaceFile(const std::string& path, std::string_view bytes, bool sync) {
  const std::string beside = path + ".tmp";
  if (absl::Status status = WriteWhole(beside, bytes, sync); !status.ok()) {
    unlink(beside.c_str());
    return status;
  }
  return RenamePath(beside, path);
}

absl::Status MakeDirectories(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) return SystemError(path, "cannot be made", error.value());
  return absl::OkStatus();
}

absl::Status SyncDirectory(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return SystemError(path, "cannot be opened", errno);
  const int result = fsync(fd), error = errno;
  close(fd);
  return result == 0 ? absl::OkStatus() : SystemError(path, "cannot be synced", error);
}

absl::Status RenamePath(const std::string& from, const std::string& to) {
  if (rename(from.c_str(), to.c_str()) == 0) return absl::OkStatus();
  // A folder that has something in it isn't replaced by rename, but can be exchanged.
  if ((errno == ENOTEMPTY || errno == EEXIST) && renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_EXCHANGE) == 0) return absl::OkStatus();
  return SystemError(from, Cat("cannot be renamed to ", to), errno);
}

absl::Status ReplaceLink(const std::string& path, const std::string& target) {
  const std::string beside = path + ".tmp";
  unlink(beside.c_str());
  if (symlink(target.c_str(), beside.c_str()) != 0) return SystemError(beside, "cannot be made", errno);
  return RenamePath(beside, path);
}

void RemoveTree(const std::string& path) {
  std::error_code ignored;
  std::filesystem::remove_all(path, ignored);
}

}  // namespace precis::runtime
