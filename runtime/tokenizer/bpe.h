#ifndef PRECIS_RUNTIME_TOKENIZER_BPE_H_
#define PRECIS_RUNTIME_TOKENIZER_BPE_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "runtime/tokenizer/merge_table.h"

namespace precis::runtime {

// The tokens of single bytes.
using ByteTokens = std::array<int32_t, 256>;

// The longest word that is encoded as a whole; its tables take 60 bytes for each of its own.
inline constexpr size_t kLongestWordBytes = size_t{1} << 28;

// Appends the tokens of one word (not empty, at most kLongestWordBytes): starts from its bytes and merges, time after
// time, the pair of lowest rank, the leftmost where ranks are equal. O(n) for a word of n bytes with the
// merges of a trained tokenizer, O(n log n) with any.
void AppendWordTokens(const MergeTable& merges, const ByteTokens& byte_tokens, std::string_view word,
                      std::vector<int32_t>* ids);

}  // namespace precis::runtime

#endif  // PRECIS_RUNTIME_TOKENIZER_BPE_H_
