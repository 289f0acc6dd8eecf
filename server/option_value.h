#ifndef PRECIS_SERVER_OPTION_VALUE_H_
#define PRECIS_SERVER_OPTION_VALUE_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace precis::server {

// The values of options as people write them. Errors say what is allowed.
absl::StatusOr<int64_t> ParseInteger(std::string_view text, int64_t low, int64_t high);
// Bytes: "4096", "512MiB", "1.5GiB", "2GB".
absl::StatusOr<int64_t> ParseBytes(std::string_view text, int64_t low, int64_t high);
// "30s", "1m30s", "250ms", "0", "inf".
absl::StatusOr<absl::Duration> ParseTime(std::string_view text, absl::Duration low, absl::Duration high);
// "on" or "off"; also true/false, yes/no, 1/0.
absl::StatusOr<bool> ParseSwitch(std::string_view text);

// The shortest text that parses to the value.
std::string FormatBytes(int64_t bytes);
std::string FormatTime(absl::Duration duration);

// "; did you mean 'x'?" for the nearest of `known`, or nothing if none is near.
std::string Suggestion(std::string_view given, const std::vector<std::string>& known);

}  // namespace precis::server

#endif  // PRECIS_SERVER_OPTION_VALUE_H_
