#ifndef PRECIS_TESTS_FUZZ_MEMORY_FILE_H_
#define PRECIS_TESTS_FUZZ_MEMORY_FILE_H_

#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

namespace precis {

// Ends the process, which the fuzzer reports, unless `condition` holds.
inline void Require(bool condition, std::string_view what) {
  if (condition) return;
  std::fprintf(stderr, "broken: %.*s\n", static_cast<int>(what.size()), what.data());
  std::abort();
}

// A file in memory that is read by its path.
class MemoryFile {
 public:
  MemoryFile() : file_(::memfd_create("fuzz", 0)), path_("/proc/self/fd/" + std::to_string(file_)) {}
  const std::string& path() const { return path_; }
  void Write(std::string_view text) {
    const ssize_t size = static_cast<ssize_t>(text.size());
    Require(::ftruncate(file_, 0) == 0 && ::pwrite(file_, text.data(), text.size(), 0) == size, "the file is written");
  }

 private:
  const int file_;
  const std::string path_;
};

}  // namespace precis

#endif  // PRECIS_TESTS_FUZZ_MEMORY_FILE_H_
