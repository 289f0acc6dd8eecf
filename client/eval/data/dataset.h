#ifndef PRECIS_CLIENT_EVAL_DATA_DATASET_H_
#define PRECIS_CLIENT_EVAL_DATA_DATASET_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/eval/data/columns.h"

namespace precis::eval {

struct Document {
  std::string id;        // of the data, or FILE:ROW
  std::string text;
  std::vector<std::string> references;  // empty: none are known
  std::string group;     // such as "cnn"; scores are also reported by it
};

// A row that was left out, and why.
struct BadRow {
  std::string file;
  int64_t row = 0;  // 0: the file, from some row on
  std::string problem;
};

struct DatasetOptions {
  std::vector<std::string> paths;  // files, and directories of .story, .txt or other known files (taken in the order of their names)
  Columns columns;
  int64_t sample = 0;  // so many documents, each with the same chance; 0: all
  uint64_t seed = 0;   // of the sample: the same data and seed give the same documents, on any machine
  bool need_reference = false;  // a row without one is bad also where the data has no such column
};

struct Dataset {
  std::vector<Document> documents;  // in the order of the data
  std::vector<BadRow> bad_rows;     // at most kMostBadRowsListed; all are counted
  int64_t bad_rows_total = 0;
  int64_t rows = 0;  // read, bad ones included
  std::string hash;  // of the documents and references, hexadecimal

  static constexpr int64_t kMostBadRowsListed = 1000;
};

// Reads all files. A bad row (malformed, an empty document, an empty reference where there is such a column) is left out and counted; so is
// the rest of a file that is damaged. An error: a path that can't be opened, columns that aren't there, no good row at all. A list in the document's column
// is joined by newlines, one in the reference's is several references.
absl::StatusOr<Dataset> ReadDataset(const DatasetOptions& options);

}  // namespace precis::eval

#endif  // PRECIS_CLIENT_EVAL_DATA_DATASET_H_
