// The input is a vocab.json, a line "----" and a merges.txt.
#include <string_view>

#include "tests/fuzz/tokenizer_checks.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  constexpr std::string_view kSeparator = "\n----\n";
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t split = input.find(kSeparator);
  const std::string_view merges = split == input.npos ? "" : input.substr(split + kSeparator.size());
  precis::fuzz::CheckLoaded(precis::runtime::Tokenizer::FromVocabAndMerges(input.substr(0, split), merges));
  return 0;
}
