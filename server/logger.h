#ifndef PRECIS_SERVER_LOGGER_H_
#define PRECIS_SERVER_LOGGER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace precis::server {

enum class LogLevel : uint8_t { kDebug, kInfo, kWarning, kError, kOff };
enum class LogFormat : uint8_t { kJson, kText };

// The fields of a log line, in order. Keys must be literals.
class LogFields {
 public:
  LogFields& Add(const char* key, std::string value);
  LogFields& Add(const char* key, std::string_view value) { return Add(key, std::string(value)); }
  LogFields& Add(const char* key, const char* value) { return Add(key, std::string(value)); }
  LogFields& Add(const char* key, int64_t value);
  LogFields& Add(const char* key, int value) { return Add(key, int64_t{value}); }
  LogFields& Add(const char* key, double value);
  LogFields& Add(const char* key, bool value);
  // Milliseconds, as a number.
  LogFields& Add(const char* key, absl::Duration value);
  // Only if not empty.
  LogFields& AddIfSet(const char* key, std::string_view value);

  using Value = std::variant<std::string, int64_t, double, bool>;
  const std::vector<std::pair<const char*, Value>>& fields() const { return fields_; }

 private:
  std::vector<std::pair<const char*, Value>> fields_;
};

// Structured logs, one line an event, written by a thread of its own. Thread-safe. A full disk or a reader that has
// stopped never blocks or ends the server: lines that can't be written are dropped and counted, and a line says how many
// once writing works again.
class Logger {
 public:
  struct Options {
    LogFormat format = LogFormat::kJson;
    LogLevel level = LogLevel::kInfo;
    std::string file;  // empty: standard error
    int64_t max_queued_bytes = int64_t{8} << 20;
  };
  // INVALID_ARGUMENT if the file can't be opened.
  static absl::StatusOr<std::unique_ptr<Logger>> Open(const Options& options);

  // Writes what is queued, for at most two seconds.
  virtual ~Logger() = default;

  virtual bool Enabled(LogLevel level) const = 0;
  virtual void Log(LogLevel level, std::string_view message, const LogFields& fields = {}) = 0;
  // Opens the file again (log rotation). The old one stays in use if that fails.
  virtual void Reopen() = 0;
  // Waits until the queue is empty, at most `bound`.
  virtual void Flush(absl::Duration bound) = 0;
  virtual int64_t dropped() const = 0;
};

// One line with its newline; what Logger writes. Text that is not UTF-8 gets U+FFFD; control characters are escaped.
std::string FormatLogLine(LogFormat format, absl::Time time, LogLevel level, std::string_view message,
                          const LogFields& fields);

}  // namespace precis::server

#endif  // PRECIS_SERVER_LOGGER_H_
