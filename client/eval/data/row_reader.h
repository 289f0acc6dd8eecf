#ifndef PRECIS_CLIENT_EVAL_DATA_ROW_READER_H_
#define PRECIS_CLIENT_EVAL_DATA_ROW_READER_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "client/eval/data/byte_source.h"

namespace precis::eval {

// A row of a table of texts: one text a cell, several for a list, none for a null.
struct Row {
  using Cell = std::vector<std::string>;

  int64_t number = 0;   // from 1: the line of JSONL (empty ones counted), the record of CSV and Parquet without the header
  std::string problem;  // not empty: a bad row, without cells
  std::vector<std::pair<std::string, Cell>> cells;

  const Cell* Find(std::string_view column) const;
};

// Reads one file's rows in order. Not thread-safe.
class RowReader {
 public:
  virtual ~RowReader() = default;
  // False at the end. A bad row is a row with its problem; an error means that the rest of the file can't be read.
  virtual absl::StatusOr<bool> Next(Row* row) = 0;
};

// One JSON object a line; strings, numbers and lists of strings are kept, other values are left out.
std::unique_ptr<RowReader> MakeJsonlReader(std::unique_ptr<ByteSource> bytes);
// RFC 4180 by libcsv, with a header; `delimiter` is ',' or '\t'. A quoted field may hold newlines.
std::unique_ptr<RowReader> MakeCsvReader(std::unique_ptr<ByteSource> bytes, char delimiter);
// A file of the CNN/DailyMail corpus: the article, then "@highlight" and a sentence, several times. Columns: id (`name`), article,
// highlights (sentences joined by newlines).
std::unique_ptr<RowReader> MakeStoryReader(std::unique_ptr<ByteSource> bytes, std::string name);
// The whole file is one document. Columns: id (`name`), article.
std::unique_ptr<RowReader> MakeTextReader(std::unique_ptr<ByteSource> bytes, std::string name);
// Text, list<text> and dictionary columns by Apache Arrow. UNIMPLEMENTED, with what to do, in a build without it.
absl::StatusOr<std::unique_ptr<RowReader>> OpenParquet(const std::string& path);
bool HasParquet();

// By the file's name, without .gz, .xz, .zst: .jsonl or .ndjson or .json, .csv, .tsv, .parquet, .story, .txt or .md.
absl::StatusOr<std::unique_ptr<RowReader>> OpenRows(const std::string& path);

}  // namespace precis::eval

#endif  // PRECIS_CLIENT_EVAL_DATA_ROW_READER_H_
