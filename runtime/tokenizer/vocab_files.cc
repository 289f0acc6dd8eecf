// vocab.json and merges.txt.
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "runtime/tokenizer/excerpt.h"
#include "runtime/tokenizer/tokenizer_files.h"

namespace precis::runtime {
namespace {

// What nlohmann-json says, without its prefix, short and printable.
std::string Explain(std::string_view what) {
  if (const size_t end = what.find("] "); end != std::string_view::npos) what.remove_prefix(end + 2);
  return Excerpt(what, 200);
}

// Takes the first line off *text, without its end.
std::string_view TakeLine(std::string_view* text) {
  const size_t end = text->find('\n');
  std::string_view line = text->substr(0, end);
  text->remove_prefix(end == std::string_view::npos ? text->size() : end + 1);
  if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
  return line;
}

}  // namespace

absl::StatusOr<nlohmann::json> ParseJson(std::string_view text) {
  try {
    return nlohmann::json::parse(text.begin(), text.end());
  } catch (const nlohmann::json::exception& error) {
    return absl::InvalidArgumentError(absl::StrCat("not JSON: ", Explain(error.what())));
  }
}

absl::Status ReadVocabulary(const nlohmann::json& vocabulary, BpeDefinition* definition) {
  if (!vocabulary.is_object()) {
    return absl::InvalidArgumentError(
        absl::StrCat("the vocabulary is of type ", vocabulary.type_name(), ", not an object of tokens and ids"));
  }
  definition->vocabulary.reserve(vocabulary.size());
  for (auto entry = vocabulary.begin(); entry != vocabulary.end(); ++entry) {
    if (!entry->is_number_integer()) {
      return absl::InvalidArgumentError(absl::StrCat("the id of token \"",
                                                     Excerpt(entry.key()),
                                                     "\" is of type ", entry->type_name(), ", not an integer"));
    }
    definition->vocabulary.push_back({entry.key(), entry->get<int64_t>()});
  }
  return absl::OkStatus();
}

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
