#include "runtime/base/utf8.h"

namespace precis::runtime {
namespace {

// What a lead byte asks for: total length, and the range of the second byte (the third and fourth are 80..BF).
struct Lead {
  int length;
  unsigned char low;
  unsigned char high;
};

Lead ReadLead(unsigned char lead) {
  if (lead < 0x80) return {1, 0, 0};
  if (lead < 0xC2) return {0, 0, 0};  // continuation bytes and overlong forms
  if (lead < 0xE0) return {2, 0x80, 0xBF};
  if (lead == 0xE0) return {3, 0xA0, 0xBF};
  if (lead == 0xED) return {3, 0x80, 0x9F};  // no surrogates
  if (lead < 0xF0) return {3, 0x80, 0xBF};
  if (lead == 0xF0) return {4, 0x90, 0xBF};
  if (lead < 0xF4) return {4, 0x80, 0xBF};
  if (lead == 0xF4) return {4, 0x80, 0x8F};  // nothing above U+10FFFF
  return {0, 0, 0};
}

}  // namespace

Utf8Unit ReadUtf8(std::string_view bytes) {
  const auto first = static_cast<unsigned char>(bytes[0]);
  if (first < 0x80) return {Utf8Unit::kCodePoint, 1, first};
  const Lead lead = ReadLead(first);
  if (lead.length == 0) return {Utf8Unit::kIllFormed, 1, 0};
  char32_t value = first & (0x7F >> lead.length);
  for (int i = 1; i < lead.length; ++i) {
    if (static_cast<size_t>(i) >= bytes.size()) return {Utf8Unit::kIncomplete, i, 0};
    const auto byte = static_cast<unsigned char>(bytes[i]);
    const unsigned char low = i == 1 ? lead.low : 0x80;
    const unsigned char high = i == 1 ? lead.high : 0xBF;
    if (byte < low || byte > high) return {Utf8Unit::kIllFormed, i, 0};
    value = (value << 6) | (byte & 0x3F);
  }
  return {Utf8Unit::kCodePoint, lead.length, value};
}

}  // namespace precis::runtime
