#include "server/logger.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "server/text.h"

namespace precis::server {
namespace {

constexpr size_t kPipeChunk = 4096;  // PIPE_BUF: poll promises that a write of this size doesn't block

// The file that lines go to. Used by the writing thread only.
class Sink {
 public:
  explicit Sink(int fd) { Set(fd); }
  ~Sink() { Close(); }
  Sink(const Sink&) = delete;
  Sink& operator=(const Sink&) = delete;

  void Set(int fd) {
    Close();
    fd_ = fd;
    struct stat info = {};
    regular_ = fstat(fd, &info) == 0 && S_ISREG(info.st_mode);
  }

  // False if the line was not written whole. Gives up waiting for a reader two seconds after `stop` is set.
  bool Write(std::string_view line, const std::atomic<bool>& stop) {
    if (torn_ && !WriteAll("\n", stop)) return false;
    torn_ = false;
    return WriteAll(line, stop);
  }

 private:
  bool WriteAll(std::string_view data, const std::atomic<bool>& stop) {
    bool any = false;
    while (!data.empty()) {
      if (!regular_ && !Wait(stop)) break;
      const ssize_t n = write(fd_, data.data(), regular_ ? data.size() : std::min(data.size(), kPipeChunk));
      if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
      if (n <= 0) break;
      any = true;
      data.remove_prefix(static_cast<size_t>(n));
    }
    torn_ = torn_ || (any && !data.empty());
    return data.empty();
  }

  bool Wait(const std::atomic<bool>& stop) {
    while (true) {
      pollfd entry = {fd_, POLLOUT, 0};
      const int timeout_ms = absl::Now() > give_up_ ? 0 : 50;
      if (poll(&entry, 1, timeout_ms) > 0) return (entry.revents & POLLOUT) != 0;
      if (!stop.load()) continue;
      if (give_up_ == absl::InfiniteFuture()) give_up_ = absl::Now() + absl::Seconds(2);
      if (absl::Now() > give_up_) return false;
    }
  }

  void Close() {
    if (fd_ > STDERR_FILENO) close(fd_);
  }

  int fd_ = -1;
  bool regular_ = false;
  absl::Time give_up_ = absl::InfiniteFuture();
  bool torn_ = false;  // the last line is cut; the next one starts on a new line
};

absl::StatusOr<int> OpenFile(const std::string& file) {
  if (file.empty()) return STDERR_FILENO;
  const int fd = open(file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
  if (fd >= 0) return fd;
  return absl::InvalidArgumentError(StrCat("--log-file=", file, " can't be opened: ", strerror(errno)));
}

class LoggerImpl : public Logger {
 public:
  LoggerImpl(const Options& options, int fd) : options_(options), sink_(fd), thread_([this] { Run(); }) {}

  ~LoggerImpl() override {
    {
      absl::MutexLock lock(&mutex_);
      stop_ = true;
    }
    thread_.join();
  }

  bool Enabled(LogLevel level) const override { return level >= options_.level && level != LogLevel::kOff; }

  void Log(LogLevel level, std::string_view message, const LogFields& fields) override {
    if (!Enabled(level)) return;
    std::string line = FormatLogLine(options_.format, absl::Now(), level, message, fields);
    absl::MutexLock lock(&mutex_);
    if (queued_bytes_ + static_cast<int64_t>(line.size()) > options_.max_queued_bytes) {
      ++dropped_;
      return;
    }
    queued_bytes_ += static_cast<int64_t>(line.size());
    queue_.push_back(std::move(line));
  }

  void Reopen() override {
    absl::MutexLock lock(&mutex_);
    reopen_ = !options_.file.empty();
  }

  void Flush(absl::Duration bound) override {
    absl::MutexLock lock(&mutex_);
    const auto idle = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return queued_bytes_ == 0; };
    mutex_.AwaitWithTimeout(absl::Condition(&idle), bound);
  }

  int64_t dropped() const override { return dropped_; }

 private:
  void Run() {
    int64_t reported = 0;
    while (true) {
      std::vector<std::string> lines;
      bool reopen = false, stop = false;
      {
        absl::MutexLock lock(&mutex_);
        const auto work = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
          return !queue_.empty() || reopen_ || stop_;
        };
        mutex_.Await(absl::Condition(&work));
        lines.swap(queue_);
        std::swap(reopen, reopen_);
        stop = stop_;
      }
      if (reopen) ReopenFile();
      int64_t bytes = 0;
      for (const std::string& line : lines) {
        bytes += static_cast<int64_t>(line.size());
        WriteLine(line, &reported);
      }
      absl::MutexLock lock(&mutex_);
      queued_bytes_ -= bytes;
      if (stop && queue_.empty()) return;
    }
  }

  void WriteLine(const std::string& line, int64_t* reported) {
    if (!sink_.Write(line, stop_)) {
      ++dropped_;
      return;
    }
    const int64_t lost = dropped_ - *reported;
    if (lost == 0) return;
    const std::string note =
        FormatLogLine(options_.format, absl::Now(), LogLevel::kWarning, "log lines were lost",
                      LogFields().Add("lost", lost).Add("lost_total", dropped_.load()));
    if (sink_.Write(note, stop_)) *reported += lost;
  }

  void ReopenFile() {
    if (absl::StatusOr<int> fd = OpenFile(options_.file); fd.ok()) sink_.Set(*fd);
  }

  const Options options_;
  Sink sink_;
  std::atomic<int64_t> dropped_{0};
  std::atomic<bool> stop_{false};
  absl::Mutex mutex_;
  std::vector<std::string> queue_ ABSL_GUARDED_BY(mutex_);
  int64_t queued_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  bool reopen_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Logger>> Logger::Open(const Options& options) {
  absl::StatusOr<int> fd = OpenFile(options.file);
  if (!fd.ok()) return fd.status();
  return std::make_unique<LoggerImpl>(options, *fd);
}

}  // namespace precis::server
