#include "runtime/tokenizer/byte_alphabet.h"

#include <array>

#include "runtime/base/utf8.h"

namespace precis::runtime {
namespace {

constexpr int kCharacters = 256 + 68;

bool IsPrintable(int byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

struct Alphabet {
  std::array<int, 256> character;         // of a byte
  std::array<int, kCharacters> byte;      // of a character, -1 where it is no spelling
};

Alphabet MakeAlphabet() {
  Alphabet alphabet;
  alphabet.byte.fill(-1);
  int next = 256;
  for (int byte = 0; byte < 256; ++byte) {
    alphabet.character[byte] = IsPrintable(byte) ? byte : next++;
    alphabet.byte[alphabet.character[byte]] = byte;
  }
  return alphabet;
}

const Alphabet& GetAlphabet() {
  static const Alphabet alphabet = MakeAlphabet();
  return alphabet;
}

}  // namespace

std::string SpellByte(unsigned char byte) {
  const int character = GetAlphabet().character[byte];
  if (character < 0x80) return std::string(1, static_cast<char>(character));
  return {static_cast<char>(0xC0 | (character >> 6)), static_cast<char>(0x80 | (character & 0x3F))};
}

std::string TokenToBytes(std::string_view token) {
  const Alphabet& alphabet = GetAlphabet();
  std::string bytes;
  bytes.reserve(token.size());
  for (size_t pos = 0; pos < token.size();) {
    const Utf8Unit unit = ReadUtf8(token.substr(pos));
    if (unit.kind != Utf8Unit::kCodePoint || unit.value >= kCharacters || alphabet.byte[unit.value] < 0) {
      return std::string(token);
    }
    bytes.push_back(static_cast<char>(alphabet.byte[unit.value]));
    pos += unit.length;
  }
  return bytes;
}

}  // namespace precis::runtime
