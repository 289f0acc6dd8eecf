#ifndef PRECIS_RUNTIME_TOKENIZER_H_
#define PRECIS_RUNTIME_TOKENIZER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace precis::runtime {

// GPT-2's byte-level BPE (Radford et al. 2019), equal to Hugging Face's `tokenizers` on any bytes of UTF-8.
// Immutable, thread-safe.
class Tokenizer {
 public:
  // From a model folder: tokenizer.json if present, else vocab.json + merges.txt.
  // INVALID_ARGUMENT names the file and what is wrong with it.
  static absl::StatusOr<std::unique_ptr<const Tokenizer>> Load(const std::string& directory);
  // From the bytes of the files (for tests and fuzzing).
  static absl::StatusOr<std::unique_ptr<const Tokenizer>> FromTokenizerJson(std::string_view json);
  static absl::StatusOr<std::unique_ptr<const Tokenizer>> FromVocabAndMerges(std::string_view vocab_json,
                                                                             std::string_view merges);
  virtual ~Tokenizer() = default;

  // Tokens of `text`. Never special tokens: "<|endoftext|>" in text is encoded as ordinary text.
  // Bytes that are no UTF-8 are encoded byte by byte. Time is linear in the length whatever the text.
  virtual std::vector<int32_t> Encode(std::string_view text) const = 0;

  // The bytes of the tokens (possibly half a code point at the ends); ids outside the vocabulary give nothing.
  virtual std::string DecodeBytes(const std::vector<int32_t>& ids) const = 0;
  // The bytes of one token.
  virtual std::string_view TokenBytes(int32_t id) const = 0;

  virtual int32_t vocabulary_size() const = 0;  // largest id + 1
  virtual int32_t end_of_text() const = 0;      // id of <|endoftext|>, or -1
};

// Turns a stream of tokens into text that is always whole UTF-8: bytes that can still become a code point are held back; bytes that
// can't become U+FFFD (one for each maximal subpart, as Unicode recommends and Python does). Not thread-safe.
class StreamingDecoder {
 public:
  explicit StreamingDecoder(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}
  // Text that became certain with this token.
  std::string Push(int32_t id);
  // What was held back, as U+FFFD.
  std::string Finish();

 private:
  const Tokenizer& tokenizer_;
  std::string pending_;
};

// True if `text` is well-formed UTF-8; else *error_offset is the offset of the first bad byte.
bool IsValidUtf8(std::string_view text, size_t* error_offset);
// `bytes` with every maximal ill-formed subpart replaced by U+FFFD.
std::string ReplaceInvalidUtf8(std::string_view bytes);

}  // namespace precis::runtime

#endif  // PRECIS_RUNTIME_TOKENIZER_H_
