// tokenizer.json, as Hugging Face's `tokenizers` writes it.
#include <initializer_list>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "runtime/tokenizer/excerpt.h"
#include "runtime/tokenizer/tokenizer_files.h"

namespace precis::runtime {
namespace {

using nlohmann::json;

// The member `key` of an object, or null.
const json& Member(const json& object, const char* key) {
  static const json null;
  const auto found = object.find(key);
  return found == object.end() ? null : *found;
}

// A value in an error message: short, printable.
std::string Show(const json& value) {
  if (value.is_structured()) {
    const json& type = value.is_object() ? Member(value, "type") : value;
    if (!type.is_string()) return absl::StrCat("of type ", value.type_name());
    return Show(type);
  }
  if (value.is_string()) return absl::StrCat("\"", Excerpt(value.get_ref<const std::string&>()), "\"");
  return Excerpt(value.dump());
}

absl::Status Unsupported(const std::string& name, const json& value, const char* allowed) {
  return absl::InvalidArgumentError(absl::StrCat(name, " is ", Show(value), "; only ", allowed, " is supported"));
}

bool IsType(const json& value, const char* type) {
  return value.is_object() && Member(value, "type") == type;
}

absl::Status CheckPreTokenizer(const json& pre_tokenizer) {
  if (!IsType(pre_tokenizer, "ByteLevel")) return Unsupported("pre_tokenizer", pre_tokenizer, "\"ByteLevel\"");
  const json& add_prefix_space = Member(pre_tokenizer, "add_prefix_space");
  if (add_prefix_space != false) return Unsupported("pre_tokenizer.add_prefix_space", add_prefix_space, "false");
  const json& use_regex = Member(pre_tokenizer, "use_regex");
  if (!use_regex.is_null() && use_regex != true) return Unsupported("pre_tokenizer.use_regex", use_regex, "true");
  return absl::OkStatus();
}

absl::Status CheckStages(const json& root) {
  if (!Member(root, "normalizer").is_null()) return Unsupported("normalizer", Member(root, "normalizer"), "null");
  if (auto status = CheckPreTokenizer(Member(root, "pre_tokenizer")); !status.ok()) return status;
  for (const char* stage : {"post_processor", "decoder"}) {
    const json& value = Member(root, stage);
    if (!value.is_null() && !IsType(value, "ByteLevel")) return Unsupported(stage, value, "\"ByteLevel\"");
  }
  return absl::OkStatus();
}

absl::Status CheckModelOptions(const json& model) {
  // Old files don't say the type; only BPE has merges.
  const json& type = Member(model, "type");
  if (!type.is_null() && type != "BPE") return Unsupported("model.type", type, "\"BPE\"");
  for (const char* option : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    const json& value = Member(model, option);
    if (!value.is_null() && value != "") return Unsupported(absl::StrCat("model.", option), value, "\"\" or null");
  }
  for (const char* option : {"byte_fallback", "ignore_merges"}) {
    const json& value = Member(model, option);
    if (!value.is_null() && value != false) return Unsupported(absl::StrCat("model.", option), value, "false");
  }
  const json& dropout = Member(model, "dropout");
  if (!dropout.is_null() && dropout != 0) return Unsupported("model.dropout", dropout, "null");
  return absl::OkStatus();
}

// Merges are ["a b", ...] in old files and [["a", "b"], ...] in new ones.
absl::Status ReadMerges(const json& merges, BpeDefinition* definition) {
  if (!merges.is_array()) return Unsupported("model.merges", merges, "an array of pairs");
  definition->merges.reserve(merges.size());
  for (size_t i = 0; i < merges.size(); ++i) {
    const json& merge = merges[i];
    if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      definition->merges.emplace_back(merge[0].get_ref<const std::string&>(), merge[1].get_ref<const std::string&>());
      continue;
    }
    const std::string_view text = merge.is_string() ? std::string_view(merge.get_ref<const std::string&>()) : "";
    const size_t space = text.find(' ');
    if (space == std::string_view::npos || text.find(' ', space + 1) != std::string_view::npos) {
      return Unsupported(absl::StrCat("model.merges[", i, "]"), merge, "\"left right\" or [\"left\", \"right\"]");
    }
    definition->merges.emplace_back(text.substr(0, space), text.substr(space + 1));
  }
  return absl::OkStatus();
}

absl::Status ReadAddedTokens(const json& added, BpeDefinition* definition) {
  if (added.is_null()) return absl::OkStatus();
  if (!added.is_array()) return Unsupported("added_tokens", added, "an array");
  for (size_t i = 0; i < added.size(); ++i) {
    const std::string name = absl::StrCat("added_tokens[", i, "]");
    if (!added[i].is_object()) return Unsupported(name, added[i], "an object");
    const json& content = Member(added[i], "content");
    const json& id = Member(added[i], "id");
    const json& special = Member(added[i], "special");
    if (!content.is_string() || content == "") return Unsupported(name + ".content", content, "a string");
    if (!id.is_number_integer()) return Unsupported(name + ".id", id, "an integer");
    if (special != true) {
      return Unsupported(absl::StrCat(name, " (", Show(content), ").special"), special, "true");
    }
    definition->special.push_back({content.get_ref<const std::string&>(), id.get<int64_t>()});
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ReadTokenizerJson(const json& root, BpeDefinition* definition) {
  if (!root.is_object()) return Unsupported("the file's content", root, "an object");
  const json& model = Member(root, "model");
  if (!model.is_object()) return Unsupported("model", model, "an object");
  if (auto status = CheckModelOptions(model); !status.ok()) return status;
  if (auto status = CheckStages(root); !status.ok()) return status;
  if (auto status = ReadVocabulary(Member(model, "vocab"), definition); !status.ok()) return status;
  if (auto status = ReadMerges(Member(model, "merges"), definition); !status.ok()) return status;
  return ReadAddedTokens(Member(root, "added_tokens"), definition);
}

}  // namespace precis::runtime
