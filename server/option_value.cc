#include "server/option_value.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/numbers.h"
#include "server/text.h"

namespace precis::server {
namespace {

struct Unit {
  std::string_view suffix;
  int64_t bytes;
};

constexpr Unit kUnits[] = {
    {"TiB", int64_t{1} << 40}, {"GiB", int64_t{1} << 30}, {"MiB", int64_t{1} << 20}, {"KiB", int64_t{1} << 10},
    {"TB", 1'000'000'000'000}, {"GB", 1'000'000'000},     {"MB", 1'000'000},         {"kB", 1000},
    {"KB", 1000},              {"B", 1},
};

size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t change = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, change});
    }
  }
  return row[b.size()];
}

}  // namespace

absl::StatusOr<int64_t> ParseInteger(std::string_view text, int64_t low, int64_t high) {
  int64_t value = 0;
  if (absl::SimpleAtoi(ToAbsl(text), &value) && value >= low && value <= high) return value;
  return absl::InvalidArgumentError(StrCat("expected a whole number from ", low, " to ", high));
}

absl::StatusOr<int64_t> ParseBytes(std::string_view text, int64_t low, int64_t high) {
  const absl::Status error = absl::InvalidArgumentError(
      StrCat("expected bytes from ", FormatBytes(low), " to ", FormatBytes(high),
                   ", such as 1048576, 512MiB, 1.5GiB or 2GB"));
  int64_t factor = 1;
  for (const Unit& unit : kUnits) {
    if (text.size() <= unit.suffix.size() ||
        text.substr(text.size() - unit.suffix.size()) != unit.suffix) {
      continue;
    }
    factor = unit.bytes;
    text.remove_suffix(unit.suffix.size());
    break;
  }
  int64_t whole = 0;
  double number = 0;
  if (absl::SimpleAtoi(ToAbsl(text), &whole)) {
    if (whole < 0 || whole > high / factor) return error;
    return whole * factor >= low ? absl::StatusOr<int64_t>(whole * factor) : error;
  }
  if (factor == 1 || !absl::SimpleAtod(ToAbsl(text), &number) || !(number >= 0)) return error;
  number = std::floor(number * static_cast<double>(factor));
  if (number < static_cast<double>(low) || number > static_cast<double>(high)) return error;
  return static_cast<int64_t>(number);
}

absl::StatusOr<absl::Duration> ParseTime(std::string_view text, absl::Duration low, absl::Duration high) {
  absl::Duration value;
  if (absl::ParseDuration(std::string(text), &value) && value >= low && value <= high) return value;
  return absl::InvalidArgumentError(StrCat("expected a duration from ", FormatTime(low), " to ",
                                                 FormatTime(high), ", such as 250ms, 30s or 1m30s"));
}

absl::StatusOr<bool> ParseSwitch(std::string_view text) {
  const std::string lower = Lower(text);
  if (lower == "on" || lower == "true" || lower == "yes" || lower == "1") return true;
  if (lower == "off" || lower == "false" || lower == "no" || lower == "0") return false;
  return absl::InvalidArgumentError("expected on or off");
}

std::string FormatBytes(int64_t bytes) {
  for (const Unit& unit : kUnits) {
    if (unit.suffix.size() == 3 && bytes >= unit.bytes && bytes % unit.bytes == 0) {
      return StrCat(bytes / unit.bytes, unit.suffix);
    }
  }
  return StrCat(bytes);
}

std::string FormatTime(absl::Duration duration) { return absl::FormatDuration(duration); }

std::string Suggestion(std::string_view given, const std::vector<std::string>& known) {
  size_t best = 4;  // further away it is no typing error
  const std::string* nearest = nullptr;
  for (const std::string& candidate : known) {
    const size_t distance = EditDistance(given, candidate);
    if (distance >= best || distance * 2 > candidate.size()) continue;
    best = distance;
    nearest = &candidate;
  }
  return nearest == nullptr ? "" : StrCat("; did you mean '", *nearest, "'?");
}

}  // namespace precis::server
