#ifndef PRECIS_RUNTIME_TOKENIZER_TOKENIZER_FILES_H_
#define PRECIS_RUNTIME_TOKENIZER_TOKENIZER_FILES_H_

#include <string_view>

#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"
#include "runtime/tokenizer/bpe_tokenizer.h"

namespace precis::runtime {

// Parses JSON; INVALID_ARGUMENT says where it is broken.
absl::StatusOr<nlohmann::json> ParseJson(std::string_view text);

// The tokens of a vocabulary object ({"token": id, ...}). The views point into `vocabulary`.
absl::Status ReadVocabulary(const nlohmann::json& vocabulary, BpeDefinition* definition);

// The lines of merges.txt: "left right", in order; lines that start with "#version" don't count. The views
// point into `text`.
absl::Status ReadMergesText(std::string_view text, BpeDefinition* definition);

// A parsed tokenizer.json. INVALID_ARGUMENT names what it asks for and we do not do. The views point into `root`.
absl::Status ReadTokenizerJson(const nlohmann::json& root, BpeDefinition* definition);

}  // namespace precis::runtime

#endif  // PRECIS_RUNTIME_TOKENIZER_TOKENIZER_FILES_H_
