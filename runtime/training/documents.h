#ifndef PRECIS_RUNTIME_TRAINING_DOCUMENTS_H_
#define PRECIS_RUNTIME_TRAINING_DOCUMENTS_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/tokenizer.h"

namespace precis::runtime {

inline constexpr int64_t kMaxRowBytes = int64_t{64} << 20;

// A row of training data. An empty summary: the document alone.
struct TextRow {
  std::string document, summary;
};

// A line of a .jsonl file: an object with a document under "article" (or document, text, source, dialogue) and, optionally, a summary under "highlights" (or
// summary, abstract, target, tldr); a list of strings is joined by newlines; other keys are ignored. `where` ("file:line") begins every error.
absl::StatusOr<TextRow> ParseJsonRow(std::string_view line, std::string_view where);

// Reads rows of .jsonl or .json files (a row a line) and .txt files (a document a line). Empty lines are skipped. The first bad row is an error that names
// file and line, unless `skip_bad` (its count goes to *skipped). Holds all rows.
absl::StatusOr<std::vector<TextRow>> ReadRows(const std::vector<std::string>& files, bool skip_bad, int64_t* skipped);

struct EncodeOptions {
  std::string prefix, suffix;  // around the document, as the server has them
  int length = 1024;           // tokens of a document with its summary and end at most
  int summary_tokens = 128;    // of a summary at most, its end included
};

// Tokenised documents, one after the other. Document i is prefix, text, suffix, " " + summary, end of text; without a summary: text, end of text. Longer texts
// lose their last tokens, as in the server.
struct Documents {
  std::vector<int32_t> tokens;
  std::vector<int64_t> begin;          // [count + 1]
  std::vector<int32_t> summary_begin;  // index in the document of the first token of the summary; its length where there is none
  int64_t count() const { return begin.empty() ? 0 : static_cast<int64_t>(begin.size()) - 1; }
  int32_t length(int64_t i) const { return static_cast<int32_t>(begin[i + 1] - begin[i]); }
};

absl::StatusOr<Documents> EncodeRows(const std::vector<TextRow>& rows, const Tokenizer& tokenizer, const EncodeOptions& options);
// Of all tokens and lengths: tells whether a resumed run sees the same data.
uint64_t Fingerprint(const Documents& documents);

}  // namespace precis::runtime

#endif  // PRECIS_RUNTIME_TRAINING_DOCUMENTS_H_
