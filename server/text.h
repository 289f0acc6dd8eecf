#ifndef PRECIS_SERVER_TEXT_H_
#define PRECIS_SERVER_TEXT_H_

#include <string>
#include <string_view>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace precis::server {

// Debian builds Abseil with a string_view of its own; these take and give the standard one.
inline absl::string_view ToAbsl(std::string_view text) { return {text.data(), text.size()}; }
inline std::string_view ToStd(absl::string_view text) { return {text.data(), text.size()}; }

namespace text_internal {
inline absl::string_view Argument(std::string_view text) { return ToAbsl(text); }
template <typename T>
const T& Argument(const T& value) {
  return value;
}
}  // namespace text_internal

template <typename... T>
std::string StrCat(const T&... parts) {
  return absl::StrCat(text_internal::Argument(parts)...);
}

template <typename... T>
void StrAppend(std::string* out, const T&... parts) {
  absl::StrAppend(out, text_internal::Argument(parts)...);
}

inline bool StartsWith(std::string_view text, std::string_view prefix) { return text.substr(0, prefix.size()) == prefix; }
inline bool EndsWith(std::string_view text, std::string_view suffix) {
  return text.size() >= suffix.size() && text.substr(text.size() - suffix.size()) == suffix;
}
inline bool Contains(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }
inline std::string Lower(std::string_view text) { return absl::AsciiStrToLower(ToAbsl(text)); }
inline std::string_view Strip(std::string_view text) { return ToStd(absl::StripAsciiWhitespace(ToAbsl(text))); }

}  // namespace precis::server

#endif  // PRECIS_SERVER_TEXT_H_
