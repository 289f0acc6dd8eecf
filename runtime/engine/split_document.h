#ifndef PRECIS_RUNTIME_ENGINE_SPLIT_DOCUMENT_H_
#define PRECIS_RUNTIME_ENGINE_SPLIT_DOCUMENT_H_

#include <cstdint>
#include <string_view>
#include <vector>

#include "runtime/tokenizer.h"

namespace precis::runtime {

// Cuts `text` into consecutive pieces of at most `most_tokens` tokens, each tokenised by itself; joined, their bytes are the text. They are about equally
// long. A piece ends where a paragraph does; else where a line or a sentence does; else between words; else between code points, within the last part
// of the longest possible piece. A text that fits is one piece; an empty one is none. Bytes that are no UTF-8 may be cut anywhere.
// `most_tokens` is at least 4, so that any code point fits.
std::vector<std::vector<int32_t>> SplitDocument(const Tokenizer& tokenizer, std::string_view text, int most_tokens);

}  // namespace precis::runtime

#endif  // PRECIS_RUNTIME_ENGINE_SPLIT_DOCUMENT_H_
