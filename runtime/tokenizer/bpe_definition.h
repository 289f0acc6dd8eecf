#ifndef PRECIS_RUNTIME_TOKENIZER_BPE_DEFINITION_H_
#define PRECIS_RUNTIME_TOKENIZER_BPE_DEFINITION_H_

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace precis::runtime {

// A tokenizer as its files say it, not yet checked. The views point into the files' text, or into what was parsed of
// it.
struct BpeDefinition {
  struct Token {
    std::string_view text;  // in GPT-2's byte alphabet; special tokens: as it is
    int64_t id;
  };
  std::vector<Token> vocabulary;
  std::vector<std::pair<std::string_view, std::string_view>> merges;  // lower ranks first
  std::vector<Token> special;                                         // in the vocabulary or not
};

}  // namespace precis::runtime

#endif  // PRECIS_RUNTIME_TOKENIZER_BPE_DEFINITION_H_
