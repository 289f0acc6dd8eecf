#include "client/cli/files.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

#include "absl/strings/str_cat.h"

namespace precis::cli {
namespace {

struct Close {
  void operator()(std::FILE* file) const {
    if (file != stdin) std::fclose(file);
  }
};
using File = std::unique_ptr<std::FILE, Close>;

absl::Status FileError(const char* verb, const std::string& path, int error) {
  return absl::NotFoundError(absl::StrCat("can't ", verb, " '", path, "': ", std::strerror(error)));
}

}  // namespace

absl::StatusOr<std::string> ReadInput(const std::string& path) {
  File file(path == "-" ? stdin : std::fopen(path.c_str(), "rb"));
  if (file == nullptr) return FileError("read", path, errno);
  std::string content;
  char buffer[1 << 16];
  while (!std::feof(file.get())) {
    const size_t size = std::fread(buffer, 1, sizeof(buffer), file.get());
    if (std::ferror(file.get())) return FileError("read", path, errno);
    content.append(buffer, size);
    if (content.size() > static_cast<size_t>(kMaxDocumentBytes)) {
      return absl::InvalidArgumentError(
          absl::StrCat("'", path, "' is larger than ", kMaxDocumentBytes, " bytes, the most that is read"));
    }
  }
  return content;
}

absl::Status WriteFile(const std::string& path, std::string_view content) {
  File file(std::fopen(path.c_str(), "wb"));
  if (file == nullptr) return FileError("write", path, errno);
  const bool whole = std::fwrite(content.data(), 1, content.size(), file.get()) == content.size();
  if (!whole || std::fflush(file.get()) != 0) return FileError("write", path, errno);
  return absl::OkStatus();
}

}  // namespace precis::cli
