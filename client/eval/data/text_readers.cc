#include "absl/strings/str_cat.h"
#include "client/eval/data/row_reader.h"
#include "client/eval/text/unicode.h"

namespace precis::eval {
namespace {

// A file that is one row.
class WholeFile final : public RowReader {
 public:
  using Parse = void (*)(std::string content, Row* row);
  WholeFile(std::unique_ptr<ByteSource> bytes, std::string name, Parse parse) : bytes_(std::move(bytes)), name_(std::move(name)), parse_(parse) {}

  absl::StatusOr<bool> Next(Row* row) override {
    if (bytes_ == nullptr) return false;
    auto content = ReadAll(bytes_.get(), kMostRowBytes);
    bytes_ = nullptr;
    *row = Row{.number = 1};
    if (!content.ok()) {
      if (content.status().code() != absl::StatusCode::kResourceExhausted) return content.status();
      row->problem = std::string(content.status().message());
    } else if (!IsUtf8(*content)) {
      row->problem = "not valid UTF-8";
    } else {
      row->cells.emplace_back("id", Row::Cell{name_});
      parse_(*std::move(content), row);
    }
    if (!row->problem.empty()) row->cells.clear();
    return true;
  }

 private:
  std::unique_ptr<ByteSource> bytes_;
  const std::string name_;
  const Parse parse_;
};

void ParseStory(std::string content, Row* row) {
  static constexpr std::string_view kMark = "@highlight";
  std::string article, highlights;
  bool in_highlights = false;
  for (size_t at = 0; at < content.size();) {
    const size_t end = std::min(content.find('\n', at), content.size());
    const std::string_view line = Strip(std::string_view(content).substr(at, end - at));
    at = end + 1;
    if (line == kMark) {
      in_highlights = true;
    } else if (!line.empty()) {
      std::string& text = in_highlights ? highlights : article;
      absl::StrAppend(&text, text.empty() ? "" : "\n", std::string(line));
    }
  }
  if (!in_highlights) row->problem = "has no \"@highlight\" line";
  row->cells.emplace_back("article", Row::Cell{std::move(article)});
  row->cells.emplace_back("highlights", Row::Cell{std::move(highlights)});
}

void ParseText(std::string content, Row* row) {
  if (content.starts_with("\xEF\xBB\xBF")) content.erase(0, 3);
  row->cells.emplace_back("article", Row::Cell{std::move(content)});
}

}  // namespace

std::unique_ptr<RowReader> MakeStoryReader(std::unique_ptr<ByteSource> bytes, std::string name) {
  return std::make_unique<WholeFile>(std::move(bytes), std::move(name), &ParseStory);
}
std::unique_ptr<RowReader> MakeTextReader(std::unique_ptr<ByteSource> bytes, std::string name) {
  return std::make_unique<WholeFile>(std::move(bytes), std::move(name), &ParseText);
}

}  // namespace precis::eval
