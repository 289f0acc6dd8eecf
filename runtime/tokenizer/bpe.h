#ifndef PRECIS_RUNTIME_TOKENIZER_BPE_H_
#define PRECIS_RUNTIME_TOKENIZER_BPE_H_

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "runtime/tokenizer/merge_table.h"

namespace precis::runtime {

// The tokens of single bytes.
using ByteTokens = std::array<int32_t, 256>;

// Appends the tokens of one word (not empty, under 2^31 bytes): starts from its bytes and merges, time after
// time, the pair of lowest rank, the leftmost where ranks are equal. O(n log n) for a word of n bytes.
void AppendWordTokens(const MergeTable& merges, const ByteTokens& byte_tokens, std::string_view word,
                      std::vector<int32_t>* ids);

}  // namespace precis::runtime

#endif  // PRECIS_RUNTIME_TOKENIZER_BPE_H_
