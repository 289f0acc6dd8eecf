#ifndef PRECIS_RUNTIME_TOKENIZER_PRETOKENIZER_H_
#define PRECIS_RUNTIME_TOKENIZER_PRETOKENIZER_H_

#include <cstddef>
#include <string_view>

namespace precis::runtime {

// Cuts text into the "words" inside which GPT-2's BPE merges, as this regular expression does:
//
//   's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
//
// Returns the end of the word that starts at `pos` (pos < text.size()). A byte that is no UTF-8 is a word of
// its own. Scanning a text from start to end takes time linear in its length.
size_t WordEnd(std::string_view text, size_t pos);

}  // namespace precis::runtime

#endif  // PRECIS_RUNTIME_TOKENIZER_PRETOKENIZER_H_
