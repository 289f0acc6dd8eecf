// The text half of tokenizer.h: UTF-8 checks and the streaming decoder.
#include <utility>

#include "runtime/base/utf8.h"
#include "runtime/tokenizer.h"

namespace precis::runtime {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD

// Appends `bytes` to *out with ill-formed subparts replaced; stops before an incomplete code point at the
// end and returns how many bytes were used.
size_t AppendValid(std::string_view bytes, std::string* out) {
  size_t pos = 0;
  while (pos < bytes.size()) {
    const Utf8Unit unit = ReadUtf8(bytes.substr(pos));
    if (unit.kind == Utf8Unit::kIncomplete) break;
    if (unit.kind == Utf8Unit::kCodePoint) {
      out->append(bytes.substr(pos, unit.length));
    } else {
      out->append(kReplacement);
    }
    pos += unit.length;
  }
  return pos;
}

}  // namespace

std::string StreamingDecoder::Push(int32_t id) {
  pending_.append(tokenizer_.TokenBytes(id));
  std::string text;
  pending_.erase(0, AppendValid(pending_, &text));
  return text;
}

std::string StreamingDecoder::Finish() {
  return ReplaceInvalidUtf8(std::exchange(pending_, {}));
}

bool IsValidUtf8(std::string_view text, size_t* error_offset) {
  size_t pos = 0;
  while (pos < text.size()) {
    const Utf8Unit unit = ReadUtf8(text.substr(pos));
    if (unit.kind != Utf8Unit::kCodePoint) {
      if (error_offset != nullptr) *error_offset = pos;
      return false;
    }
    pos += unit.length;
  }
  return true;
}

std::string ReplaceInvalidUtf8(std::string_view bytes) {
  std::string text;
  text.reserve(bytes.size());
  // An incomplete code point at the end is one maximal subpart.
  if (AppendValid(bytes, &text) < bytes.size()) text.append(kReplacement);
  return text;
}

}  // namespace precis::runtime
