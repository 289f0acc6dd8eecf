#ifndef PRECIS_RUNTIME_TOKENIZER_CHAR_CLASS_H_
#define PRECIS_RUNTIME_TOKENIZER_CHAR_CLASS_H_

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace precis::runtime {

// The classes that GPT-2's pre-tokeniser tells apart.
enum class CharClass : uint8_t {
  kOther,    // [^\s\p{L}\p{N}]
  kLetter,   // \p{L}
  kNumber,   // \p{N}
  kSpace,    // \s: White_Space
  kInvalid,  // a byte that belongs to no well-formed code point
};

struct ClassifiedChar {
  CharClass char_class;
  uint8_t length;  // bytes
};

// The class of a code point: Unicode 15.0 or newer, as utf8proc is, with the additions of 16.0.
CharClass ClassOf(char32_t code_point);

// The character at text[pos]; pos < text.size().
ClassifiedChar ClassifyAt(std::string_view text, size_t pos);

}  // namespace precis::runtime

#endif  // PRECIS_RUNTIME_TOKENIZER_CHAR_CLASS_H_
