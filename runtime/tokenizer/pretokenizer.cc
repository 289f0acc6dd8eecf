#include "runtime/tokenizer/pretokenizer.h"

#include "runtime/tokenizer/char_class.h"

namespace precis::runtime {
namespace {

// Length of the contraction that starts with the apostrophe at text[pos], or 0.
size_t ContractionLength(std::string_view text, size_t pos) {
  const std::string_view rest = text.substr(pos + 1, 2);
  if (rest.empty()) return 0;
  if (rest[0] == 's' || rest[0] == 't' || rest[0] == 'm' || rest[0] == 'd') return 2;
  if (rest == "re" || rest == "ve" || rest == "ll") return 3;
  return 0;
}

size_t SkipRun(std::string_view text, size_t pos, CharClass char_class) {
  while (pos < text.size()) {
    const ClassifiedChar next = ClassifyAt(text, pos);
    if (next.char_class != char_class) break;
    pos += next.length;
  }
  return pos;
}

bool IsWordClass(CharClass char_class) {
  return char_class != CharClass::kSpace && char_class != CharClass::kInvalid;
}

// White space up to the end of the text is one word; before anything else it leaves its last character, which
// may belong to the next word, unless it is alone.
size_t SpaceEnd(std::string_view text, size_t pos) {
  size_t last = pos;
  size_t end = pos + ClassifyAt(text, pos).length;
  while (end < text.size()) {
    const ClassifiedChar next = ClassifyAt(text, end);
    if (next.char_class != CharClass::kSpace) return last == pos ? end : last;
    last = end;
    end += next.length;
  }
  return end;
}

}  // namespace

size_t WordEnd(std::string_view text, size_t pos) {
  if (text[pos] == '\'') {
    if (const size_t length = ContractionLength(text, pos); length > 0) return pos + length;
  }
  if (text[pos] == ' ' && pos + 1 < text.size()) {
    const ClassifiedChar next = ClassifyAt(text, pos + 1);
    if (IsWordClass(next.char_class)) return SkipRun(text, pos + 1 + next.length, next.char_class);
  }
  const ClassifiedChar first = ClassifyAt(text, pos);
  if (first.char_class == CharClass::kSpace) return SpaceEnd(text, pos);
  if (first.char_class == CharClass::kInvalid) return pos + 1;
  return SkipRun(text, pos + first.length, first.char_class);
}

}  // namespace precis::runtime
