#include "runtime/tokenizer/tokenizer_options.h"

#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "runtime/tokenizer/excerpt.h"

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

absl::Status CheckTokenizerJson(TokenizerJson* json) {
  const nlohmann::json& root = json->rest;
  if (!root.is_object()) return Unsupported("the file's content", root, "an object");
  const nlohmann::json& model = Member(root, "model");
  if (!model.is_object()) return Unsupported("model", model, "an object");
  if (auto status = CheckModelOptions(model); !status.ok()) return status;
  if (auto status = CheckStages(root); !status.ok()) return status;
  if (!json->has_vocabulary) return Unsupported("model.vocab", Member(model, "vocab"), "an object");
  if (!json->has_merges) return Unsupported("model.merges", Member(model, "merges"), "an array");
  return ReadAddedTokens(Member(root, "added_tokens"), &json->definition);
}

}  // namespace precis::runtime
