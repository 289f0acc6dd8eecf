#ifndef PRECIS_TESTS_FUZZ_TOKENIZER_CHECKS_H_
#define PRECIS_TESTS_FUZZ_TOKENIZER_CHECKS_H_

#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/tokenizer.h"

namespace precis::fuzz {

// Stops the fuzzer with a finding.
inline void Require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "broken: %s\n", what);
  std::abort();
}

// What the streaming decoder makes of `ids` must be what the batch functions do, piece by piece whole UTF-8.
inline void CheckDecoding(const runtime::Tokenizer& tokenizer, const std::vector<int32_t>& ids) {
  runtime::StreamingDecoder decoder(tokenizer);
  std::string streamed;
  for (const int32_t id : ids) {
    const std::string piece = decoder.Push(id);
    Require(runtime::IsValidUtf8(piece, nullptr), "a streamed piece is not UTF-8");
    streamed += piece;
  }
  streamed += decoder.Finish();
  Require(decoder.Finish().empty(), "Finish gave something twice");
  Require(streamed == runtime::ReplaceInvalidUtf8(tokenizer.DecodeBytes(ids)), "streaming differs from decoding");
}

// Any bytes must come back from their tokens, and none of those may be the end of text.
inline void CheckText(const runtime::Tokenizer& tokenizer, std::string_view text) {
  const std::vector<int32_t> ids = tokenizer.Encode(text);
  Require(ids.size() <= text.size(), "more tokens than bytes");
  Require(tokenizer.Encode(text) == ids, "encoding twice differs");
  for (const int32_t id : ids) {
    Require(id >= 0 && id < tokenizer.vocabulary_size(), "id outside the vocabulary");
    Require(id != tokenizer.end_of_text(), "end of text came from text");
  }
  Require(tokenizer.DecodeBytes(ids) == text, "decoding does not give the text back");
  CheckDecoding(tokenizer, ids);
}

// A tokenizer that loaded must work; one that didn't must say why.
inline void CheckLoaded(const absl::StatusOr<std::unique_ptr<const runtime::Tokenizer>>& tokenizer) {
  if (!tokenizer.ok()) {
    Require(!tokenizer.status().message().empty(), "an error without a message");
    const std::string message(tokenizer.status().message());
    Require(runtime::IsValidUtf8(message, nullptr), "an error message is not UTF-8");
    return;
  }
  for (const char* text : {"", "a", "The cat's  hat.\n\n", "<|endoftext|>", "caf\xC3\xA9 \xF0\x9F\x98\x80 \xFF\xC3"}) {
    CheckText(**tokenizer, text);
  }
  CheckText(**tokenizer, std::string(300, 'a') + std::string(300, ' '));
  CheckDecoding(**tokenizer, {-1, 0, 1, 255, 256, (*tokenizer)->vocabulary_size(), INT32_MAX, INT32_MIN});
}

}  // namespace precis::fuzz

#endif  // PRECIS_TESTS_FUZZ_TOKENIZER_CHECKS_H_
