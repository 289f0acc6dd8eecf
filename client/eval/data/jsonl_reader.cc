#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "client/eval/data/row_reader.h"
#include "client/eval/text/unicode.h"

namespace precis::eval {
namespace {

std::string TextOf(const nlohmann::json& value) { return value.is_string() ? value.get<std::string>() : value.dump(); }

bool IsText(const nlohmann::json& value) { return value.is_string() || value.is_number(); }

void AddCell(const std::string& name, const nlohmann::json& value, Row* row) {
  if (IsText(value)) {
    row->cells.emplace_back(name, Row::Cell{TextOf(value)});
  } else if (value.is_null()) {
    row->cells.emplace_back(name, Row::Cell());
  } else if (value.is_array()) {
    Row::Cell cell;
    for (const auto& element : value) {
      if (!IsText(element)) return;
      cell.push_back(TextOf(element));
    }
    row->cells.emplace_back(name, std::move(cell));
  }
}

class JsonlReader final : public RowReader {
 public:
  explicit JsonlReader(std::unique_ptr<ByteSource> bytes) : bytes_(std::move(bytes)), lines_(bytes_.get()) {}

  absl::StatusOr<bool> Next(Row* row) override {
    std::string line;
    bool too_long = false;
    do {
      const auto more = lines_.Next(&line, &too_long);
      if (!more.ok() || !*more) return more;
      ++number_;
      if (number_ == 1 && line.starts_with("\xEF\xBB\xBF")) line.erase(0, 3);
    } while (Strip(line).empty());
    *row = Row{.number = number_};
    row->problem = too_long ? absl::StrCat("has more than ", kMostRowBytes, " bytes") : Parse(line, row);
    if (!row->problem.empty()) row->cells.clear();
    return true;
  }

 private:
  // What is wrong, or nothing.
  static std::string Parse(const std::string& line, Row* row) {
    // Deep nesting would recurse; a row of texts has none.
    int depth = 0;
    const auto shallow = [&](int level, nlohmann::json::parse_event_t, nlohmann::json&) {
      depth = std::max(depth, level);
      return level <= kMostDepth;
    };
    const nlohmann::json value = nlohmann::json::parse(line, shallow, /*allow_exceptions=*/false);
    if (depth > kMostDepth) return "nested too deeply";
    if (value.is_discarded()) return IsUtf8(line) ? "not valid JSON" : "not valid UTF-8";
    if (value.is_array()) return "a JSON array: one object a line is expected (jq -c '.[]' FILE makes such lines)";
    if (!value.is_object()) return "no JSON object";
    for (const auto& [name, cell] : value.items()) AddCell(name, cell, row);
    return "";
  }

  static constexpr int kMostDepth = 64;
  std::unique_ptr<ByteSource> bytes_;
  LineReader lines_;
  int64_t number_ = 0;
};

}  // namespace

std::unique_ptr<RowReader> MakeJsonlReader(std::unique_ptr<ByteSource> bytes) { return std::make_unique<JsonlReader>(std::move(bytes)); }

}  // namespace precis::eval
