#include <filesystem>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "client/eval/data/row_reader.h"

namespace precis::eval {

const Row::Cell* Row::Find(std::string_view column) const {
  for (const auto& [name, cell] : cells) {
    if (name == column) return &cell;
  }
  return nullptr;
}

absl::StatusOr<std::unique_ptr<RowReader>> OpenRows(const std::string& path) {
  std::filesystem::path name = std::filesystem::path(path).filename();
  std::string extension = absl::AsciiStrToLower(name.extension().string());
  const bool packed = extension == ".gz" || extension == ".xz" || extension == ".zst" || extension == ".zstd";
  if (packed) {
    name = name.stem();
    extension = absl::AsciiStrToLower(name.extension().string());
  }
  if (extension == ".parquet") {
    if (packed) return absl::InvalidArgumentError(absl::StrCat("'", path, "': Parquet is compressed inside; unpack the file first"));
    return OpenParquet(path);
  }
  const bool known = extension == ".jsonl" || extension == ".ndjson" || extension == ".json" || extension == ".csv" || extension == ".tsv" ||
                     extension == ".story" || extension == ".txt" || extension == ".md";
  if (!known) {
    return absl::InvalidArgumentError(absl::StrCat("'", path, "': can't tell its format by its name; known are .jsonl (.ndjson, .json), .csv, .tsv, ",
                                                   ".parquet, .story and .txt (.md), each also with .gz, .xz or .zst"));
  }
  auto bytes = OpenBytes(path);
  if (!bytes.ok()) return bytes.status();
  if (extension == ".csv" || extension == ".tsv") return MakeCsvReader(*std::move(bytes), extension == ".csv" ? ',' : '\t');
  if (extension == ".story") return MakeStoryReader(*std::move(bytes), name.stem().string());
  if (extension == ".txt" || extension == ".md") return MakeTextReader(*std::move(bytes), name.stem().string());
  return MakeJsonlReader(*std::move(bytes));
}

}  // namespace precis::eval
