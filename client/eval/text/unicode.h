#ifndef PRECIS_CLIENT_EVAL_TEXT_UNICODE_H_
#define PRECIS_CLIENT_EVAL_TEXT_UNICODE_H_

#include <string>
#include <string_view>
#include <vector>

namespace precis::eval {

struct CodePoint {
  char32_t value;  // U+FFFD for a byte that begins no well-formed code point
  int length;      // bytes, at least 1
};

// Reads the front of `text`, which must not be empty.
CodePoint ReadCodePoint(std::string_view text);

bool IsUtf8(std::string_view text);

// `text` with every ill-formed byte as U+FFFD.
std::string ToUtf8(std::string_view text);

// What Python's str.isspace, str.split and the \s of its `re` take as white space.
bool IsSpace(char32_t value);

// As str.split(), str.rstrip() and str.strip() of Python. The pieces point into `text`.
std::vector<std::string_view> SplitOnSpace(std::string_view text);
std::string_view StripRight(std::string_view text);
std::string_view Strip(std::string_view text);

int64_t CountCodePoints(std::string_view text);

}  // namespace precis::eval

#endif  // PRECIS_CLIENT_EVAL_TEXT_UNICODE_H_
