#ifndef PRECIS_RUNTIME_TOKENIZER_TOKENIZER_OPTIONS_H_
#define PRECIS_RUNTIME_TOKENIZER_TOKENIZER_OPTIONS_H_

#include "absl/status/status.h"
#include "runtime/tokenizer/json_reader.h"

namespace precis::runtime {

// Checks that a tokenizer.json asks for nothing but GPT-2's byte-level BPE, and adds its special tokens to the
// definition. INVALID_ARGUMENT names the option that we don't support. `truncation` and `padding` are ignored: the
// server has its own rules for long documents.
absl::Status CheckTokenizerJson(TokenizerJson* json);

}  // namespace precis::runtime

#endif  // PRECIS_RUNTIME_TOKENIZER_TOKENIZER_OPTIONS_H_
