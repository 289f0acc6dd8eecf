// The static functions of Tokenizer.
#include <filesystem>
#include <fstream>
#include <string>
#include <system_error>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "runtime/tokenizer.h"
#include "runtime/tokenizer/bpe_tokenizer.h"
#include "runtime/tokenizer/json_reader.h"
#include "runtime/tokenizer/merges_text.h"
#include "runtime/tokenizer/tokenizer_options.h"

namespace precis::runtime {
namespace {

// GPT-2's largest file is 2 MB; the largest vocabularies in use need about 35 MB.
constexpr uintmax_t kMaxFileBytes = 128u << 20;

absl::Status Prefix(const absl::Status& status, const std::string& name) {
  return absl::Status(status.code(), absl::StrCat(name, ": ", status.message()));
}

absl::StatusOr<std::string> ReadFile(const std::filesystem::path& path) {
  std::error_code error;
  const uintmax_t size = std::filesystem::file_size(path, error);
  if (error) return absl::InvalidArgumentError(absl::StrCat(path.string(), ": ", error.message()));
  if (size > kMaxFileBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(path.string(), ": ", size, " bytes; a tokenizer's file may have up to ", kMaxFileBytes));
  }
  std::string text(size, '\0');
  std::ifstream file(path, std::ios::binary);
  if (!file.read(text.data(), static_cast<std::streamsize>(size))) {
    return absl::InvalidArgumentError(absl::StrCat(path.string(), ": can't be read"));
  }
  return text;
}

bool Exists(const std::filesystem::path& path) {
  std::error_code error;
  return std::filesystem::exists(path, error);
}

using TokenizerOr = absl::StatusOr<std::unique_ptr<const Tokenizer>>;

TokenizerOr FromJson(std::string_view text, const std::string& name) {
  absl::StatusOr<TokenizerJson> json = ReadTokenizerJson(text);
  if (!json.ok()) return Prefix(json.status(), name);
  if (auto status = CheckTokenizerJson(&*json); !status.ok()) return Prefix(status, name);
  TokenizerOr tokenizer = BpeTokenizer::Create(json->definition);
  if (!tokenizer.ok()) return Prefix(tokenizer.status(), name);
  return tokenizer;
}

TokenizerOr FromFiles(std::string_view vocab_json, std::string_view merges, const std::string& folder) {
  const std::string vocab_name = absl::StrCat(folder, "vocab.json");
  absl::StatusOr<TokenizerJson> vocab = ReadVocabJson(vocab_json);
  if (!vocab.ok()) return Prefix(vocab.status(), vocab_name);
  if (!vocab->has_vocabulary) {
    return absl::InvalidArgumentError(absl::StrCat(vocab_name, ": the content is of type ", vocab->rest.type_name(),
                                                   "; it must be an object of tokens and their ids"));
  }
  if (auto status = ReadMergesText(merges, &vocab->definition); !status.ok()) {
    return Prefix(status, absl::StrCat(folder, "merges.txt"));
  }
  TokenizerOr tokenizer = BpeTokenizer::Create(vocab->definition);
  if (!tokenizer.ok()) return Prefix(tokenizer.status(), absl::StrCat(vocab_name, " with merges.txt"));
  return tokenizer;
}

}  // namespace

absl::StatusOr<std::unique_ptr<const Tokenizer>> Tokenizer::Load(const std::string& directory) {
  const std::filesystem::path folder(directory);
  if (Exists(folder / "tokenizer.json")) {
    const auto json = ReadFile(folder / "tokenizer.json");
    if (!json.ok()) return json.status();
    return FromJson(*json, (folder / "tokenizer.json").string());
  }
  if (!Exists(folder / "vocab.json")) {
    return absl::InvalidArgumentError(
        absl::StrCat(directory, ": no tokenizer: expected tokenizer.json, or vocab.json and merges.txt"));
  }
  const auto vocab = ReadFile(folder / "vocab.json");
  if (!vocab.ok()) return vocab.status();
  const auto merges = ReadFile(folder / "merges.txt");
  if (!merges.ok()) return merges.status();
  return FromFiles(*vocab, *merges, (folder / "").string());
}

absl::StatusOr<std::unique_ptr<const Tokenizer>> Tokenizer::FromTokenizerJson(std::string_view json) {
  return FromJson(json, "tokenizer.json");
}

absl::StatusOr<std::unique_ptr<const Tokenizer>> Tokenizer::FromVocabAndMerges(std::string_view vocab_json,
                                                                               std::string_view merges) {
  return FromFiles(vocab_json, merges, "");
}

}  // namespace precis::runtime
