#ifndef PRECIS_RUNTIME_TOKENIZER_JSON_READER_H_
#define PRECIS_RUNTIME_TOKENIZER_JSON_READER_H_

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"
#include "runtime/tokenizer/bpe_definition.h"

namespace precis::runtime {

// A vocab.json or tokenizer.json as parsed. The two large parts, the vocabulary and the merges, are flat: building a
// JSON tree of them would take most of the time that a tokenizer takes to load.
struct TokenizerJson {
  BpeDefinition definition;     // vocabulary and merges
  bool has_vocabulary = false;  // an object was found in its place
  bool has_merges = false;      // an array was found in its place
  nlohmann::json rest;          // everything else
  std::string strings;          // what the definition's views point into
};

// INVALID_ARGUMENT says where the text is no JSON, or which token or merge is none. Nothing it allocates is larger
// than a small multiple of the text.
absl::StatusOr<TokenizerJson> ReadVocabJson(std::string_view text);      // the root is the vocabulary
absl::StatusOr<TokenizerJson> ReadTokenizerJson(std::string_view text);  // model.vocab and model.merges

}  // namespace precis::runtime

#endif  // PRECIS_RUNTIME_TOKENIZER_JSON_READER_H_
