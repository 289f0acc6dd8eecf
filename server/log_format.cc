#include <cmath>

#include "absl/strings/str_format.h"
#include "runtime/tokenizer.h"
#include "server/logger.h"
#include "server/text.h"

namespace precis::server {
namespace {

const char* LevelName(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug: return "debug";
    case LogLevel::kInfo: return "info";
    case LogLevel::kWarning: return "warning";
    case LogLevel::kError: return "error";
    case LogLevel::kOff: return "off";
  }
  return "info";
}

void AppendQuoted(std::string_view text, std::string* out) {
  out->push_back('"');
  for (const char c : runtime::ReplaceInvalidUtf8(text)) {
    switch (c) {
      case '"': out->append("\\\""); break;
      case '\\': out->append("\\\\"); break;
      case '\n': out->append("\\n"); break;
      case '\r': out->append("\\r"); break;
      case '\t': out->append("\\t"); break;
      default:
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
          absl::StrAppendFormat(out, "\\u%04x", static_cast<unsigned char>(c));
        } else {
          out->push_back(c);
        }
    }
  }
  out->push_back('"');
}

// Text that needs no quotes in key=value.
bool IsPlain(std::string_view text) {
  if (text.empty()) return false;
  for (const char c : text) {
    if (c <= ' ' || c == '"' || c == '=' || c == '\\' || c == 0x7f) return false;  // c < 0: not ASCII
  }
  return true;
}

void AppendNumber(double value, std::string* out) {
  if (std::isfinite(value)) {
    absl::StrAppendFormat(out, "%.6g", value);
  } else {
    out->append("null");  // JSON has no other word for it
  }
}

void AppendValue(const LogFields::Value& value, bool json, std::string* out) {
  if (const auto* text = std::get_if<std::string>(&value)) {
    if (!json && IsPlain(*text)) {
      out->append(*text);
    } else {
      AppendQuoted(*text, out);
    }
  } else if (const auto* integer = std::get_if<int64_t>(&value)) {
    StrAppend(out, *integer);
  } else if (const auto* number = std::get_if<double>(&value)) {
    AppendNumber(*number, out);
  } else {
    out->append(std::get<bool>(value) ? "true" : "false");
  }
}

}  // namespace

LogFields& LogFields::Add(const char* key, std::string value) {
  fields_.emplace_back(key, std::move(value));
  return *this;
}
LogFields& LogFields::Add(const char* key, int64_t value) {
  fields_.emplace_back(key, value);
  return *this;
}
LogFields& LogFields::Add(const char* key, double value) {
  fields_.emplace_back(key, value);
  return *this;
}
LogFields& LogFields::Add(const char* key, bool value) {
  fields_.emplace_back(key, value);
  return *this;
}
LogFields& LogFields::Add(const char* key, absl::Duration value) {
  return Add(key, absl::ToDoubleMilliseconds(value));
}
LogFields& LogFields::AddIfSet(const char* key, std::string_view value) {
  return value.empty() ? *this : Add(key, value);
}

std::string FormatLogLine(LogFormat format, absl::Time time, LogLevel level, std::string_view message,
                          const LogFields& fields) {
  const bool json = format == LogFormat::kJson;
  const std::string stamp = absl::FormatTime("%Y-%m-%dT%H:%M:%E6SZ", time, absl::UTCTimeZone());
  std::string out;
  if (json) {
    StrAppend(&out, "{\"time\":\"", stamp, "\",\"level\":\"", LevelName(level), "\",\"message\":");
    AppendQuoted(message, &out);
  } else {
    StrAppend(&out, stamp, " ", LevelName(level), " ");
    AppendValue(std::string(message), /*json=*/true, &out);
  }
  for (const auto& [key, value] : fields.fields()) {
    if (json) {
      StrAppend(&out, ",\"", key, "\":");
    } else {
      StrAppend(&out, " ", key, "=");
    }
    AppendValue(value, json, &out);
  }
  out.append(json ? "}\n" : "\n");
  return out;
}

}  // namespace precis::server
