#ifndef PRECIS_RUNTIME_TOKENIZER_BPE_TOKENIZER_H_
#define PRECIS_RUNTIME_TOKENIZER_BPE_TOKENIZER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/tokenizer.h"
#include "runtime/tokenizer/bpe.h"
#include "runtime/tokenizer/bpe_definition.h"
#include "runtime/tokenizer/merge_table.h"
#include "runtime/tokenizer/word_table.h"

namespace precis::runtime {

// The id-to-bytes half of a tokenizer.
struct TokenSpellings {
  std::string bytes;              // of all tokens, one after the other
  std::vector<uint32_t> offsets;  // token `id` is bytes[offsets[id], offsets[id + 1])
};

// Byte-level BPE. Immutable, thread-safe.
class BpeTokenizer : public Tokenizer {
 public:
  // Checks the definition; INVALID_ARGUMENT says what is wrong with it.
  static absl::StatusOr<std::unique_ptr<const Tokenizer>> Create(const BpeDefinition& definition);

  std::vector<int32_t> Encode(std::string_view text) const override;
  std::string DecodeBytes(const std::vector<int32_t>& ids) const override;
  std::string_view TokenBytes(int32_t id) const override;
  int32_t vocabulary_size() const override { return static_cast<int32_t>(spellings_.offsets.size()) - 1; }
  int32_t end_of_text() const override { return end_of_text_; }

 private:
  // The words that encode to one token.
  WordTable FindWords() const;

  BpeTokenizer(TokenSpellings spellings, ByteTokens byte_tokens, MergeTable merges, int32_t end_of_text);

  const TokenSpellings spellings_;
  const ByteTokens byte_tokens_;
  const MergeTable merges_;
  const WordTable words_;
  const int32_t end_of_text_;
};

}  // namespace precis::runtime

#endif  // PRECIS_RUNTIME_TOKENIZER_BPE_TOKENIZER_H_
