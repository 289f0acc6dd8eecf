#include "runtime/tokenizer/merges_text.h"

#include "absl/strings/str_cat.h"
#include "runtime/tokenizer/excerpt.h"

namespace precis::runtime {
namespace {

// Takes the first line off *text; returns it without its end.
std::string_view TakeLine(std::string_view* text) {
  const size_t end = text->find('\n');
  std::string_view line = text->substr(0, end);
  text->remove_prefix(end == std::string_view::npos ? text->size() : end + 1);
  if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
  return line;
}

}  // namespace

absl::Status ReadMergesText(std::string_view text, BpeDefinition* definition) {
  for (size_t number = 1; !text.empty(); ++number) {
    const std::string_view line = TakeLine(&text);
    if (line.empty() || line.substr(0, 8) == "#version") continue;
    const size_t space = line.find(' ');
    if (space == 0 || space >= line.size() - 1 || line.find(' ', space + 1) != std::string_view::npos) {
      return absl::InvalidArgumentError(absl::StrCat("line ", number, " is \"", Excerpt(line),
                                                     "\", not two tokens with one space between them"));
    }
    definition->merges.emplace_back(line.substr(0, space), line.substr(space + 1));
  }
  return absl::OkStatus();
}

}  // namespace precis::runtime
