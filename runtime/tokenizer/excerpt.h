#ifndef PRECIS_RUNTIME_TOKENIZER_EXCERPT_H_
#define PRECIS_RUNTIME_TOKENIZER_EXCERPT_H_

#include <string>
#include <string_view>

#include "absl/strings/escaping.h"

namespace precis::runtime {

// The front of a file's text, printable ASCII, for an error message.
inline std::string Excerpt(std::string_view text, size_t longest = 60) {
  const std::string_view front = text.substr(0, longest);
  return absl::CHexEscape({front.data(), front.size()}) + (front.size() < text.size() ? "..." : "");
}

}  // namespace precis::runtime

#endif  // PRECIS_RUNTIME_TOKENIZER_EXCERPT_H_
