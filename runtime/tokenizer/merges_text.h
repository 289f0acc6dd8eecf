#ifndef PRECIS_RUNTIME_TOKENIZER_MERGES_TEXT_H_
#define PRECIS_RUNTIME_TOKENIZER_MERGES_TEXT_H_

#include <string_view>

#include "absl/status/status.h"
#include "runtime/tokenizer/bpe_definition.h"

namespace precis::runtime {

// Adds the lines of a merges.txt, "left right", to definition->merges in order. Lines that start with "#version" and
// empty lines don't count. The views point into `text`.
absl::Status ReadMergesText(std::string_view text, BpeDefinition* definition);

}  // namespace precis::runtime

#endif  // PRECIS_RUNTIME_TOKENIZER_MERGES_TEXT_H_
