#include "client/eval/text/unicode.h"

#include <cstdint>

namespace precis::eval {
namespace {

constexpr CodePoint kBad = {0xFFFD, 1};

}  // namespace

CodePoint ReadCodePoint(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  const int length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || text.size() < static_cast<size_t>(length)) return kBad;
  char32_t value = lead & (0x7F >> length);
  for (int i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return kBad;
    value = value << 6 | (byte(i) & 0x3F);
  }
  static constexpr char32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000};
  if (value < kLeast[length] || value > 0x10FFFF || (value >= 0xD800 && value < 0xE000)) return kBad;
  return {value, length};
}

bool IsUtf8(std::string_view text) {
  while (!text.empty()) {
    const CodePoint point = ReadCodePoint(text);
    if (point.value == kBad.value && point.length == 1) return false;
    text.remove_prefix(point.length);
  }
  return true;
}

std::string ToUtf8(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  while (!text.empty()) {
    const CodePoint point = ReadCodePoint(text);
    const bool bad = point.value == kBad.value && point.length == 1;
    result += bad ? std::string_view("\xEF\xBF\xBD") : text.substr(0, point.length);
    text.remove_prefix(point.length);
  }
  return result;
}

bool IsSpace(char32_t value) {
  if (value < 0x80) return value == ' ' || (value >= 0x09 && value <= 0x0D) || (value >= 0x1C && value <= 0x1F);
  return value == 0x85 || value == 0xA0 || value == 0x1680 || (value >= 0x2000 && value <= 0x200A) || value == 0x2028 ||
         value == 0x2029 || value == 0x202F || value == 0x205F || value == 0x3000;
}

std::vector<std::string_view> SplitOnSpace(std::string_view text) {
  std::vector<std::string_view> pieces;
  size_t begin = 0, at = 0;
  while (at < text.size()) {
    const CodePoint point = ReadCodePoint(text.substr(at));
    if (IsSpace(point.value)) {
      if (at > begin) pieces.push_back(text.substr(begin, at - begin));
      begin = at + point.length;
    }
    at += point.length;
  }
  if (at > begin) pieces.push_back(text.substr(begin));
  return pieces;
}

std::string_view StripRight(std::string_view text) {
  size_t end = 0, at = 0;
  // From the right in ASCII, which is nearly always all; what ends in something else is read from the left.
  size_t size = text.size();
  while (size > 0 && static_cast<unsigned char>(text[size - 1]) < 0x80 && IsSpace(static_cast<unsigned char>(text[size - 1]))) --size;
  text = text.substr(0, size);
  if (text.empty() || static_cast<unsigned char>(text.back()) < 0x80) return text;
  while (at < text.size()) {
    const CodePoint point = ReadCodePoint(text.substr(at));
    at += point.length;
    if (!IsSpace(point.value)) end = at;
  }
  return text.substr(0, end);
}

std::string_view Strip(std::string_view text) {
  while (!text.empty()) {
    const CodePoint point = ReadCodePoint(text);
    if (!IsSpace(point.value)) break;
    text.remove_prefix(point.length);
  }
  return StripRight(text);
}

int64_t CountCodePoints(std::string_view text) {
  int64_t count = 0;
  while (!text.empty()) {
    text.remove_prefix(ReadCodePoint(text).length);
    ++count;
  }
  return count;
}

}  // namespace precis::eval
