#include "runtime/training/documents.h"

#include <algorithm>
#include <atomic>
#include <fstream>
#include <initializer_list>
#include <thread>

#include "nlohmann/json.hpp"
#include "runtime/model/json_object.h"
#include "runtime/model/status_macros.h"
#include "runtime/model/text.h"

namespace precis::runtime {
namespace {

using nlohmann::json;

constexpr std::string_view kDocumentNames[] = {"article", "document", "text", "source", "dialogue"};
constexpr std::string_view kSummaryNames[] = {"highlights", "summary", "abstract", "target", "tldr"};

bool HasEnding(const std::string& path, std::string_view ending) {
  return path.size() > ending.size() && std::string_view(path).substr(path.size() - ending.size()) == ending;
}

bool IsBlank(std::string_view line) { return line.find_first_not_of(" \t\r") == std::string_view::npos; }

// A string, or a list of strings joined by newlines.
absl::StatusOr<std::string> TextOf(const json& value, std::string_view name, std::string_view where) {
  if (value.is_string()) return value.get<std::string>();
  const absl::Status bad = absl::InvalidArgumentError(Cat(where, ": \"", name, "\" must be a string or a list of strings"));
  if (!value.is_array()) return bad;
  std::string joined;
  for (const json& item : value) {
    if (!item.is_string()) return bad;
    joined += joined.empty() ? "" : "\n";
    joined += item.get_ref<const std::string&>();
  }
  return joined;
}

template <size_t N>
absl::StatusOr<std::string> FindText(const json& row, const std::string_view (&names)[N], std::string_view where, bool needed) {
  for (std::string_view name : names) {
    // "source" is also where a row comes from: only a document if nothing else is.
    if (const auto it = row.find(std::string(name)); it != row.end() && !it->is_null()) return TextOf(*it, name, where);
  }
  if (!needed) return std::string();
  return absl::InvalidArgumentError(Cat(where, ": no document: give \"article\" (or document, text, source, dialogue), and \"highlights\" for its summary"));
}

class RowReader {
 public:
  RowReader(bool skip_bad, std::vector<TextRow>* rows) : skip_bad_(skip_bad), rows_(rows) {}

  absl::Status File(const std::string& path) {
    const bool text = HasEnding(path, ".txt");
    if (!text && !HasEnding(path, ".jsonl") && !HasEnding(path, ".json")) {
      return absl::InvalidArgumentError(Cat(path, ": expected a .jsonl or .json file (a row a line), or .txt (a document a line); unpack compressed files first"));
    }
    std::ifstream in(path, std::ios::binary);
    if (!in) return absl::NotFoundError(Cat(path, ": cannot be opened"));
    std::string line;
    for (int64_t number = 1; std::getline(in, line); ++number) {
      if (!line.empty() && line.back() == '\r') line.pop_back();
      if (IsBlank(line)) continue;
      if (text) {
        PRECIS_TRY(Keep(TextRow{std::move(line), ""}, Cat(path, ":", number)));
      } else {
        PRECIS_TRY(Keep(ParseJsonRow(line, Cat(path, ":", number)), Cat(path, ":", number)));
      }
    }
    if (in.bad()) return absl::DataLossError(Cat(path, ": reading failed"));
    return absl::OkStatus();
  }
  int64_t skipped() const { return skipped_; }

 private:
  absl::Status Keep(absl::StatusOr<TextRow> row, const std::string& where) {
    if (row.ok()) {
      size_t offset = 0;
      if (!IsValidUtf8(row->document, &offset) || !IsValidUtf8(row->summary, &offset)) {
        row = absl::InvalidArgumentError(Cat(where, ": is no UTF-8 (byte ", offset, ")"));
      }
    }
    if (row.ok()) {
      rows_->push_back(*std::move(row));
      return absl::OkStatus();
    }
    if (!skip_bad_) return absl::InvalidArgumentError(Cat(std::string_view(row.status().message().data(), row.status().message().size()), " (--skip-bad-rows leaves such rows out)"));
    ++skipped_;
    return absl::OkStatus();
  }

  const bool skip_bad_;
  std::vector<TextRow>* const rows_;
  int64_t skipped_ = 0;
};

// One row's document and summary as tokens, not cut.
struct EncodedRow {
  std::vector<int32_t> text, summary;
};

// All cores: a tokenizer is thread-safe, and each row has a place of its own.
std::vector<EncodedRow> EncodeTexts(const std::vector<TextRow>& rows, const Tokenizer& tokenizer) {
  constexpr size_t kRowsAtOnce = 64;
  std::vector<EncodedRow> encoded(rows.size());
  std::atomic<size_t> next = 0;
  const auto work = [&] {
    for (size_t begin; (begin = next.fetch_add(kRowsAtOnce)) < rows.size();) {
      for (size_t i = begin; i < std::min(begin + kRowsAtOnce, rows.size()); ++i) {
        encoded[i].text = tokenizer.Encode(rows[i].document);
        if (!rows[i].summary.empty()) encoded[i].summary = tokenizer.Encode(" " + rows[i].summary);
      }
    }
  };
  std::vector<std::jthread> threads;
  for (size_t t = 1; t < std::min<size_t>(std::thread::hardware_concurrency(), rows.size() / kRowsAtOnce + 1); ++t) threads.emplace_back(work);
  work();
  threads.clear();
  return encoded;
}

void Cut(std::vector<int32_t>* tokens, int64_t limit) {
  if (static_cast<int64_t>(tokens->size()) > limit) tokens->resize(std::max<int64_t>(limit, 0));
}

}  // namespace

absl::StatusOr<TextRow> ParseJsonRow(std::string_view line, std::string_view where) {
  if (static_cast<int64_t>(line.size()) > kMaxRowBytes) return absl::InvalidArgumentError(Cat(where, ": a row of more than 64 MiB"));
  PRECIS_ASSIGN(const json row, ParseJsonObject(line, where));
  TextRow result;
  PRECIS_ASSIGN(result.document, FindText(row, kDocumentNames, where, true));
  PRECIS_ASSIGN(result.summary, FindText(row, kSummaryNames, where, false));
  if (IsBlank(result.document)) return absl::InvalidArgumentError(Cat(where, ": the document is empty"));
  return result;
}

absl::StatusOr<std::vector<TextRow>> ReadRows(const std::vector<std::string>& files, bool skip_bad, int64_t* skipped) {
  std::vector<TextRow> rows;
  RowReader reader(skip_bad, &rows);
  for (const std::string& file : files) PRECIS_TRY(reader.File(file));
  *skipped = reader.skipped();
  if (rows.empty()) return absl::InvalidArgumentError(Cat(files.empty() ? "no data file" : files.front(), ": no rows to train on"));
  return rows;
}

absl::StatusOr<Documents> EncodeRows(const std::vector<TextRow>& rows, const Tokenizer& tokenizer, const EncodeOptions& options) {
  const std::vector<int32_t> prefix = tokenizer.Encode(options.prefix), suffix = tokenizer.Encode(options.suffix);
  const int32_t end = tokenizer.end_of_text();
  if (end < 0) return absl::InvalidArgumentError("the tokenizer has no <|endoftext|>: a summary could not end. Use GPT-2's tokenizer or --train-tokenizer");
  const int64_t frame = static_cast<int64_t>(prefix.size() + suffix.size());
  const int64_t room = options.length - options.summary_tokens - frame;
  if (room < 1) {
    return absl::InvalidArgumentError(Cat("--length=", options.length, " leaves no room for documents beside ", options.summary_tokens,
                                          " tokens of summary (--summary-tokens) and a template of ", frame));
  }
  Documents documents;
  documents.begin.push_back(0);
  for (EncodedRow& row : EncodeTexts(rows, tokenizer)) {
    std::vector<int32_t>& text = row.text;
    const bool alone = row.summary.empty();
    Cut(&text, alone ? options.length - 1 : room);
    std::vector<int32_t>& to = documents.tokens;
    if (!alone) to.insert(to.end(), prefix.begin(), prefix.end());
    to.insert(to.end(), text.begin(), text.end());
    int32_t summary_begin = -1;
    if (!alone) {
      to.insert(to.end(), suffix.begin(), suffix.end());
      summary_begin = static_cast<int32_t>(static_cast<int64_t>(to.size()) - documents.begin.back());
      Cut(&row.summary, options.summary_tokens - 1);
      to.insert(to.end(), row.summary.begin(), row.summary.end());
    }
    to.push_back(end);
    documents.begin.push_back(static_cast<int64_t>(to.size()));
    documents.summary_begin.push_back(alone ? documents.length(documents.count() - 1) : summary_begin);
  }
  return documents;
}

uint64_t Fingerprint(const Documents& documents) {
  uint64_t hash = 0xcbf29ce484222325u;
  const auto mix = [&hash](uint64_t value) { hash = (hash ^ value) * 0x100000001b3u; };
  for (int32_t token : documents.tokens) mix(static_cast<uint32_t>(token));
  for (int64_t begin : documents.begin) mix(static_cast<uint64_t>(begin));
  for (int32_t begin : documents.summary_begin) mix(static_cast<uint64_t>(begin));
  return hash;
}

}  // namespace precis::runtime
