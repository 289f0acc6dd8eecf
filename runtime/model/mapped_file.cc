#include "runtime/model/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "runtime/model/status_macros.h"
#include "runtime/model/text.h"

namespace precis::runtime {
namespace {

class FileDescriptor {
 public:
  explicit FileDescriptor(int fd) : fd_(fd) {}
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  ~FileDescriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

struct OpenFile {
  FileDescriptor fd;
  int64_t size;
};

absl::Status FileError(const std::string& path, std::string_view what) {
  return absl::InvalidArgumentError(Cat(path, ": ", what));
}

absl::StatusOr<OpenFile> OpenRegular(const std::string& path) {
  // O_NONBLOCK, so that a FIFO in place of a file can't hang the server.
  FileDescriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (fd.get() < 0) return FileError(path, Cat("can't be opened: ", std::strerror(errno)));
  struct stat info;
  if (::fstat(fd.get(), &info) != 0) {
    return FileError(path, Cat("can't be examined: ", std::strerror(errno)));
  }
  if (!S_ISREG(info.st_mode)) return FileError(path, "is not a regular file");
  return OpenFile{std::move(fd), static_cast<int64_t>(info.st_size)};
}

}  // namespace

absl::StatusOr<std::unique_ptr<MappedFile>> MappedFile::Open(const std::string& path) {
  PRECIS_ASSIGN(OpenFile file, OpenRegular(path));
  const char* data = nullptr;
  if (file.size > 0) {
    void* mapped = ::mmap(nullptr, file.size, PROT_READ, MAP_PRIVATE, file.fd.get(), 0);
    if (mapped == MAP_FAILED) {
      return FileError(path, Cat("can't be mapped: ", std::strerror(errno)));
    }
    ::madvise(mapped, file.size, MADV_WILLNEED);
    data = static_cast<const char*>(mapped);
  }
  return std::unique_ptr<MappedFile>(new MappedFile(path, data, file.size));
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<char*>(data_), size_);
}

void MappedFile::Release(const char* data, int64_t bytes) const {
  const uintptr_t page = ::sysconf(_SC_PAGESIZE);
  const uintptr_t begin = (reinterpret_cast<uintptr_t>(data) + page - 1) / page * page;
  const uintptr_t end = (reinterpret_cast<uintptr_t>(data) + bytes) / page * page;
  if (begin < end) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

absl::StatusOr<std::string> ReadSmallFile(const std::string& path, int64_t limit_bytes) {
  PRECIS_ASSIGN(OpenFile file, OpenRegular(path));
  if (file.size > limit_bytes) {
    return FileError(path, Cat("has ", file.size, " bytes; at most ", limit_bytes,
                                        " are allowed for such a file"));
  }
  std::string text(file.size, '\0');
  int64_t done = 0;
  while (done < file.size) {
    const ssize_t count = ::read(file.fd.get(), text.data() + done, file.size - done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return FileError(path, Cat("can't be read: ", std::strerror(errno)));
    if (count == 0) break;
    done += count;
  }
  text.resize(done);
  return text;
}

bool FileExists(const std::string& path) {
  struct stat info;
  return ::stat(path.c_str(), &info) == 0;
}

}  // namespace precis::runtime
