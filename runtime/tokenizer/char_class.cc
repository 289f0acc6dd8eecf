#include "runtime/tokenizer/char_class.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <iterator>

#include "runtime/base/utf8.h"

namespace precis::runtime {
namespace {

struct ClassRange {
  char32_t first;
  char32_t last;
  CharClass char_class;
};

// Letters and numbers that Unicode 15.1 and 16.0 added: the `tokenizers` package follows 16.0, Debian 12's
// utf8proc 15.0. Asked only where utf8proc knows no character.
constexpr ClassRange kAddedSince15[] = {
    {0x1C89, 0x1C8A, CharClass::kLetter},   {0xA7CB, 0xA7CD, CharClass::kLetter},
    {0xA7DA, 0xA7DC, CharClass::kLetter},   {0x105C0, 0x105F3, CharClass::kLetter},
    {0x10D40, 0x10D49, CharClass::kNumber}, {0x10D4A, 0x10D65, CharClass::kLetter},
    {0x10D6F, 0x10D85, CharClass::kLetter}, {0x10EC2, 0x10EC4, CharClass::kLetter},
    {0x11380, 0x11389, CharClass::kLetter}, {0x1138B, 0x1138B, CharClass::kLetter},
    {0x1138E, 0x1138E, CharClass::kLetter}, {0x11390, 0x113B5, CharClass::kLetter},
    {0x113B7, 0x113B7, CharClass::kLetter}, {0x113D1, 0x113D1, CharClass::kLetter},
    {0x113D3, 0x113D3, CharClass::kLetter}, {0x116D0, 0x116E3, CharClass::kNumber},
    {0x11BC0, 0x11BE0, CharClass::kLetter}, {0x11BF0, 0x11BF9, CharClass::kNumber},
    {0x13460, 0x143FA, CharClass::kLetter}, {0x16100, 0x1611D, CharClass::kLetter},
    {0x16130, 0x16139, CharClass::kNumber}, {0x16D40, 0x16D6C, CharClass::kLetter},
    {0x16D70, 0x16D79, CharClass::kNumber}, {0x18CFF, 0x18CFF, CharClass::kLetter},
    {0x1CCF0, 0x1CCF9, CharClass::kNumber}, {0x1E5D0, 0x1E5ED, CharClass::kLetter},
    {0x1E5F0, 0x1E5F0, CharClass::kLetter}, {0x1E5F1, 0x1E5FA, CharClass::kNumber},
    {0x2EBF0, 0x2EE5D, CharClass::kLetter},
};

CharClass ClassOfUnassigned(char32_t code_point) {
  const auto* range = std::lower_bound(std::begin(kAddedSince15), std::end(kAddedSince15), code_point,
                                       [](const ClassRange& r, char32_t c) { return r.last < c; });
  const bool found = range != std::end(kAddedSince15) && range->first <= code_point;
  return found ? range->char_class : CharClass::kOther;
}

constexpr char32_t kTableSize = 0x800;  // what one or two bytes of UTF-8 can say

using ClassTable = std::array<CharClass, kTableSize>;

ClassTable MakeTable() {
  ClassTable table;
  for (char32_t c = 0; c < kTableSize; ++c) table[c] = ClassOf(c);
  return table;
}

const ClassTable& Table() {
  static const ClassTable table = MakeTable();
  return table;
}

}  // namespace

CharClass ClassOf(char32_t code_point) {
  if ((code_point >= 0x09 && code_point <= 0x0D) || code_point == 0x85) return CharClass::kSpace;
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(code_point))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
      return CharClass::kLetter;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
      return CharClass::kNumber;
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
      return CharClass::kSpace;
    case UTF8PROC_CATEGORY_CN:
      return ClassOfUnassigned(code_point);
    default:
      return CharClass::kOther;
  }
}

ClassifiedChar ClassifyAt(std::string_view text, size_t pos) {
  const auto first = static_cast<unsigned char>(text[pos]);
  if (first < 0x80) return {Table()[first], 1};
  const Utf8Unit unit = ReadUtf8(text.substr(pos));
  if (unit.kind != Utf8Unit::kCodePoint) return {CharClass::kInvalid, 1};
  const CharClass char_class = unit.value < kTableSize ? Table()[unit.value] : ClassOf(unit.value);
  return {char_class, static_cast<uint8_t>(unit.length)};
}

}  // namespace precis::runtime
