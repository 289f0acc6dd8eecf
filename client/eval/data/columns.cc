#include "client/eval/data/columns.h"

#include <initializer_list>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace precis::eval {
namespace {

std::string NamesOf(const Row& row) {
  std::vector<std::string> names;
  for (const auto& [name, cell] : row.cells) names.push_back(name);
  return absl::StrJoin(names, ", ");
}

// The first candidate that is there and not taken.
std::string Recognise(const Row& row, std::initializer_list<const char*> candidates, const std::set<std::string>& taken) {
  for (const char* candidate : candidates) {
    for (const auto& [name, cell] : row.cells) {
      if (absl::EqualsIgnoreCase(name, candidate) && !taken.contains(name)) return name;
    }
  }
  return "";
}

}  // namespace

absl::StatusOr<Columns> ResolveColumns(const Columns& wanted, const Row& row, const std::string& path) {
  Columns columns = wanted;
  for (const auto& [flag, name] : {std::pair{"--document-column", wanted.document}, {"--reference-column", wanted.reference}, {"--id-column", wanted.id},
                                   {"--group-column", wanted.group}}) {
    if (!name.empty() && row.Find(name) == nullptr) {
      return absl::InvalidArgumentError(absl::StrCat("'", path, "' has no column \"", name, "\" (", flag, "); its columns: ", NamesOf(row)));
    }
  }
  std::set<std::string> taken = {wanted.document, wanted.reference, wanted.id, wanted.group};
  const auto fill = [&](std::string* column, std::initializer_list<const char*> candidates) {
    if (column->empty()) *column = Recognise(row, candidates, taken);
    taken.insert(*column);
  };
  fill(&columns.document, {"article", "document", "text", "story", "body", "content", "input", "dialogue", "source"});
  fill(&columns.reference, {"highlights", "summary", "reference", "references", "abstract", "target", "tldr", "output"});
  fill(&columns.id, {"id", "hash", "doc_id", "paper_id", "url"});
  fill(&columns.group, {"source", "dataset", "corpus", "publisher"});
  if (columns.document.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("'", path, "': no column is recognised as the document; name it by --document-column; its columns: ", NamesOf(row)));
  }
  return columns;
}

}  // namespace precis::eval
