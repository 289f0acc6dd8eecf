#include "client/eval/run/journal.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "client/eval/data/byte_source.h"

namespace precis::eval {
namespace {

absl::Status FileError(const char* verb, const std::string& path) {
  return absl::NotFoundError(absl::StrCat("can't ", verb, " '", path, "': ", std::strerror(errno)));
}

}  // namespace

absl::StatusOr<std::vector<cli::Json>> ReadJournal(const std::string& path) {
  auto source = OpenBytes(path);
  if (!source.ok()) return source.status();
  LineReader reader(source->get());
  std::vector<cli::Json> lines;
  std::string line;
  bool too_long = false;
  while (true) {
    const auto more = reader.Next(&line, &too_long);
    if (!more.ok()) return more.status();
    if (!*more) return lines;
    cli::Json json = cli::Json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (json.is_object()) lines.push_back(std::move(json));
  }
}

absl::StatusOr<std::unique_ptr<Journal>> Journal::Open(const std::string& path, std::vector<cli::Json>* lines) {
  const int file = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (file < 0) return FileError("write", path);
  std::unique_ptr<Journal> journal(new Journal(file, path));
  if (::flock(file, LOCK_EX | LOCK_NB) != 0) return absl::FailedPreconditionError(absl::StrCat("'", path, "' is in use by another precis-eval"));
  auto read = ReadJournal(path);
  if (!read.ok()) return read.status();
  *lines = *std::move(read);
  // Cut a torn line off.
  off_t end = ::lseek(file, 0, SEEK_END);
  char last = '\n';
  while (end > 0 && ::pread(file, &last, 1, end - 1) == 1 && last != '\n') --end;
  if (::ftruncate(file, end) != 0 || ::lseek(file, end, SEEK_SET) != end) return FileError("write", path);
  return journal;
}

Journal::~Journal() { ::close(file_); }

absl::Status Journal::Append(const cli::Json& line) {
  const std::string text = cli::Dump(line, false) + "\n";
  absl::MutexLock lock(&mutex_);
  for (size_t at = 0; at < text.size();) {
    const ssize_t written = ::write(file_, text.data() + at, text.size() - at);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return FileError("write", path_);
    at += static_cast<size_t>(written);
  }
  return absl::OkStatus();
}

}  // namespace precis::eval
