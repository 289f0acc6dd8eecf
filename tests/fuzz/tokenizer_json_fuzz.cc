// The input is a tokenizer.json.
#include <string_view>

#include "tests/fuzz/tokenizer_checks.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view json(reinterpret_cast<const char*>(data), size);
  precis::fuzz::CheckLoaded(precis::runtime::Tokenizer::FromTokenizerJson(json));
  return 0;
}
