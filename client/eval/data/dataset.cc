#include "client/eval/data/dataset.h"

#include <algorithm>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/eval/data/fingerprint.h"
#include "client/eval/stats/random.h"
#include "client/eval/text/unicode.h"

namespace precis::eval {
namespace {

namespace fs = std::filesystem;

// Directories become the files in them.
absl::StatusOr<std::vector<std::string>> ListFiles(const std::vector<std::string>& paths) {
  std::vector<std::string> files;
  for (const std::string& path : paths) {
    std::error_code error;
    if (!fs::is_directory(path, error)) {
      files.push_back(path);
      continue;
    }
    std::vector<std::string> found;
    for (auto it = fs::recursive_directory_iterator(path, error); !error && it != fs::recursive_directory_iterator(); it.increment(error)) {
      if (it->is_regular_file(error) && !it->path().filename().string().starts_with('.')) found.push_back(it->path().string());
    }
    if (error) return absl::NotFoundError(absl::StrCat("can't read the directory '", path, "': ", error.message()));
    if (found.empty()) return absl::InvalidArgumentError(absl::StrCat("the directory '", path, "' has no files"));
    std::sort(found.begin(), found.end());
    files.insert(files.end(), found.begin(), found.end());
  }
  return files;
}

// Each of the first n documents stays with the chance size / n (Vitter's algorithm R).
class Sampler {
 public:
  Sampler(int64_t size, uint64_t seed) : size_(size), random_(seed) {}

  void Add(Document document) {
    const int64_t index = count_++;
    if (size_ == 0 || index < size_) {
      kept_.emplace_back(index, std::move(document));
      return;
    }
    const uint64_t place = random_.Below(static_cast<uint64_t>(count_));
    if (place < static_cast<uint64_t>(size_)) kept_[place] = {index, std::move(document)};
  }

  std::vector<Document> Take() {
    std::sort(kept_.begin(), kept_.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    std::vector<Document> documents;
    for (auto& [index, document] : kept_) documents.push_back(std::move(document));
    return documents;
  }

 private:
  const int64_t size_;
  Random random_;
  int64_t count_ = 0;
  std::vector<std::pair<int64_t, Document>> kept_;
};

class Loader {
 public:
  explicit Loader(const DatasetOptions& options) : options_(options), sampler_(options.sample, options.seed) {}

  absl::Status ReadFile(const std::string& path, bool only_file) {
    auto reader = OpenRows(path);
    if (!reader.ok()) {
      // In a directory a stray file is no reason to stop.
      if (only_file || reader.status().code() == absl::StatusCode::kUnimplemented) return reader.status();
      AddBad({path, 0, std::string(reader.status().message())});
      return absl::OkStatus();
    }
    bool resolved = false;
    Columns columns;
    Row row;
    while (true) {
      const auto more = (*reader)->Next(&row);
      if (!more.ok()) {
        AddBad({path, 0, absl::StrCat("the rest of the file is left out: ", std::string(more.status().message()))});
        return absl::OkStatus();
      }
      if (!*more) return absl::OkStatus();
      ++dataset_.rows;
      if (row.problem.empty() && !resolved) {
        auto found = ResolveColumns(options_.columns, row, path);
        if (!found.ok()) return found.status();
        columns = *std::move(found);
        resolved = true;
      }
      if (row.problem.empty()) row.problem = AddDocument(columns, path, &row);
      if (!row.problem.empty()) AddBad({path, row.number, row.problem});
    }
  }

  absl::StatusOr<Dataset> Finish() {
    dataset_.documents = sampler_.Take();
    if (dataset_.documents.empty()) {
      return absl::InvalidArgumentError(absl::StrCat("no usable row among ", dataset_.rows,
                                                     dataset_.bad_rows.empty() ? "" : absl::StrCat("; the first problem: ", Describe(dataset_.bad_rows[0]))));
    }
    Fingerprint fingerprint;
    for (const Document& document : dataset_.documents) {
      fingerprint.Add(document.text);
      for (const std::string& reference : document.references) fingerprint.Add(reference);
    }
    dataset_.hash = fingerprint.Hex();
    return std::move(dataset_);
  }

 private:
  static std::string Describe(const BadRow& bad) {
    return absl::StrCat(bad.file, bad.row > 0 ? absl::StrCat(" row ", bad.row) : "", ": ", bad.problem);
  }

  void AddBad(BadRow bad) {
    ++dataset_.bad_rows_total;
    if (dataset_.bad_rows_total <= Dataset::kMostBadRowsListed) dataset_.bad_rows.push_back(std::move(bad));
  }

  // What is wrong with the row, or nothing.
  std::string AddDocument(const Columns& columns, const std::string& path, Row* row) {
    const Row::Cell* const text = row->Find(columns.document);
    if (text == nullptr) return absl::StrCat("has no \"", columns.document, "\"");
    Document document{.text = absl::StrJoin(*text, "\n")};
    if (Strip(document.text).empty()) return absl::StrCat("\"", columns.document, "\" is empty");
    if (!columns.reference.empty()) {
      const Row::Cell* const references = row->Find(columns.reference);
      if (references == nullptr) return absl::StrCat("has no \"", columns.reference, "\"");
      for (const std::string& reference : *references) {
        if (!Strip(reference).empty()) document.references.push_back(reference);
      }
      if (document.references.empty()) return absl::StrCat("\"", columns.reference, "\" is empty");
    } else if (options_.need_reference) {
      return "there is no column of references";
    }
    const auto first_of = [&](const std::string& column) {
      const Row::Cell* const cell = column.empty() ? nullptr : row->Find(column);
      return cell == nullptr || cell->empty() ? std::string() : cell->front();
    };
    document.id = first_of(columns.id);
    if (document.id.empty()) document.id = absl::StrCat(fs::path(path).filename().string(), ":", row->number);
    document.group = GroupOf(first_of(columns.group), path);
    sampler_.Add(std::move(document));
    return "";
  }

  // The original files lie in cnn/stories and dailymail/stories.
  static std::string GroupOf(std::string value, const std::string& path) {
    if (!value.empty()) return value.size() <= 40 ? value : "";
    for (const auto& part : fs::path(path).parent_path()) {
      if (part == "cnn" || part == "dailymail") return part.string();
    }
    return "";
  }

  const DatasetOptions& options_;
  Sampler sampler_;
  Dataset dataset_;
};

}  // namespace

absl::StatusOr<Dataset> ReadDataset(const DatasetOptions& options) {
  const auto files = ListFiles(options.paths);
  if (!files.ok()) return files.status();
  Loader loader(options);
  for (const std::string& file : *files) {
    const bool given = std::find(options.paths.begin(), options.paths.end(), file) != options.paths.end();
    const absl::Status status = loader.ReadFile(file, given);
    if (!status.ok()) return status;
  }
  return loader.Finish();
}

}  // namespace precis::eval
