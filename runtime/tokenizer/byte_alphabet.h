#ifndef PRECIS_RUNTIME_TOKENIZER_BYTE_ALPHABET_H_
#define PRECIS_RUNTIME_TOKENIZER_BYTE_ALPHABET_H_

#include <string>
#include <string_view>

namespace precis::runtime {

// GPT-2's vocabulary files spell each byte as one printable character: bytes that Latin-1 prints stand for
// themselves, the other 68 are U+0100, U+0101, ... in byte order ("Ġ" is the space).

// The UTF-8 spelling of `byte`.
std::string SpellByte(unsigned char byte);

// The bytes that `token` spells. A token with a character outside the alphabet spells nothing: it stands for
// its own UTF-8, as in Hugging Face's decoder.
std::string TokenToBytes(std::string_view token);

}  // namespace precis::runtime

#endif  // PRECIS_RUNTIME_TOKENIZER_BYTE_ALPHABET_H_
