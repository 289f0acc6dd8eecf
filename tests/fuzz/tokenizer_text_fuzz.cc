// The input is a text for a fixed tokenizer and, read as 16-bit numbers, a stream of token ids.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string_view>

#include "tests/fuzz/tokenizer_checks.h"

namespace {

using precis::runtime::Tokenizer;

std::unique_ptr<const Tokenizer> LoadOrExit() {
  const char* const elsewhere = std::getenv("PRECIS_TEST_TOKENIZER");  // where the source tree is absent
  auto tokenizer = Tokenizer::Load(elsewhere != nullptr ? elsewhere : PRECIS_TEST_TOKENIZER);
  if (!tokenizer.ok()) {
    std::fprintf(stderr, "%s\n", tokenizer.status().ToString().c_str());
    std::exit(1);
  }
  return *std::move(tokenizer);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::unique_ptr<const Tokenizer> tokenizer = LoadOrExit();
  precis::fuzz::CheckText(*tokenizer, {reinterpret_cast<const char*>(data), size});
  std::vector<int32_t> ids;
  for (size_t i = 0; i + 2 <= size; i += 2) ids.push_back((data[i] | data[i + 1] << 8) % 2048 - 1);
  precis::fuzz::CheckDecoding(*tokenizer, ids);
  return 0;
}
