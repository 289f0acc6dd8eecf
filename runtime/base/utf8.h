#ifndef PRECIS_RUNTIME_BASE_UTF8_H_
#define PRECIS_RUNTIME_BASE_UTF8_H_

#include <cstddef>
#include <string_view>

namespace precis::runtime {

// What stands at the front of a byte sequence, by table 3-7 of the Unicode standard.
struct Utf8Unit {
  enum Kind {
    kCodePoint,   // a well-formed code point
    kIllFormed,   // a maximal ill-formed subpart: no continuation makes it well-formed
    kIncomplete,  // the bytes end inside what may still become a code point
  };
  Kind kind;
  int length;        // bytes, 1 to 4
  char32_t value;    // the code point; 0 unless kCodePoint
};

// Reads the unit at the front of `bytes`, which must not be empty.
Utf8Unit ReadUtf8(std::string_view bytes);

}  // namespace precis::runtime

#endif  // PRECIS_RUNTIME_BASE_UTF8_H_
