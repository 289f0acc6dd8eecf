#ifndef PRECIS_RUNTIME_MODEL_TEXT_H_
#define PRECIS_RUNTIME_MODEL_TEXT_H_

#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"

namespace precis::runtime {

// absl::StrCat that takes std::string_view too, where Abseil was built with a string_view of its own (Debian's is).
inline absl::string_view CatPiece(std::string_view text) { return {text.data(), text.size()}; }
inline absl::string_view CatPiece(absl::string_view text) { return text; }
inline absl::string_view CatPiece(const std::string& text) { return text; }
inline absl::string_view CatPiece(const char* text) { return text; }
template <typename Number>
Number CatPiece(Number number) {
  return number;
}

template <typename... Pieces>
std::string Cat(const Pieces&... pieces) {
  return absl::StrCat(CatPiece(pieces)...);
}

}  // namespace precis::runtime

#endif  // PRECIS_RUNTIME_MODEL_TEXT_H_
