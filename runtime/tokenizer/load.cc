// The static functions of Tokenizer.
#include <filesystem>
#include <fstream>
#include <string>
#include <system_error>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "runtime/tokenizer.h"
#include "runtime/tokenizer/bpe_tokenizer.h"
#include "runtime/tokenizer/tokenizer_files.h"

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

absl::StatusOr<std::unique_ptr<const Tokenizer>> FromJson(std::string_view json, const std::string& name) {
  const auto root = ParseJson(json);
  if (!root.ok()) return Prefix(root.status(), name);
  BpeDefinition definition;
  if (auto status = ReadTokenizerJson(*root, &definition); !status.ok()) return Prefix(status, name);
  auto tokenizer = BpeTokenizer::Create(definition);
  if (!tokenizer.ok()) return Prefix(tokenizer.status(), name);
  return tokenizer;
}

absl::StatusOr<std::unique_ptr<const Tokenizer>> FromFiles(std::string_view vocab_json, std::string_view merges,
                                                           const std::string& folder) {
  const std::string vocab_name = absl::StrCat(folder, "vocab.json");
  const std::string merges_name = absl::StrCat(folder, "merges.txt");
  const auto root = ParseJson(vocab_json);
  if (!root.ok()) return Prefix(root.status(), vocab_name);
  BpeDefinition definition;
  if (auto status = ReadVocabulary(*root, &definition); !status.ok()) return Prefix(status, vocab_name);
  if (auto status = ReadMergesText(merges, &definition); !status.ok()) return Prefix(status, merges_name);
  auto tokenizer = BpeTokenizer::Create(definition);
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
