#ifndef PRECIS_CLIENT_EVAL_DATA_COLUMNS_H_
#define PRECIS_CLIENT_EVAL_DATA_COLUMNS_H_

#include <string>

#include "absl/status/statusor.h"
#include "client/eval/data/row_reader.h"

namespace precis::eval {

// The names of the columns to read; empty: recognised by name, or not there.
struct Columns {
  std::string document, reference, id, group;
};

// Fills in what is empty by the first rows' columns: document: article, document, text, story, body, content, input, dialogue, source;
// reference: highlights, summary, reference, references, abstract, target, tldr, output; id: id, hash, doc_id, url; group: source, dataset, corpus,
// publisher, where that is no other column. Case does not matter. INVALID_ARGUMENT names the columns that there are.
absl::StatusOr<Columns> ResolveColumns(const Columns& wanted, const Row& row, const std::string& path);

}  // namespace precis::eval

#endif  // PRECIS_CLIENT_EVAL_DATA_COLUMNS_H_
