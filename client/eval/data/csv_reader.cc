#include <csv.h>

#include <deque>

#include "absl/strings/str_cat.h"
#include "client/eval/data/row_reader.h"
#include "client/eval/text/unicode.h"

namespace precis::eval {
namespace {

class CsvReader final : public RowReader {
 public:
  CsvReader(std::unique_ptr<ByteSource> bytes, char delimiter) : bytes_(std::move(bytes)) {
    csv_init(&parser_, CSV_APPEND_NULL);
    csv_set_delim(&parser_, static_cast<unsigned char>(delimiter));
    csv_set_space_func(&parser_, [](unsigned char) { return 0; });  // spaces belong to the text
    csv_set_term_func(&parser_, nullptr);
  }
  ~CsvReader() override { csv_free(&parser_); }
  CsvReader(const CsvReader&) = delete;
  CsvReader& operator=(const CsvReader&) = delete;

  absl::StatusOr<bool> Next(Row* row) override {
    while (true) {
      while (records_.empty() && !ended_) {
        const absl::Status status = Fill();
        if (!status.ok()) return status;
      }
      if (records_.empty()) return false;
      std::vector<std::string> record = std::move(records_.front());
      records_.pop_front();
      if (header_.empty()) {
        if (record.empty()) return absl::DataLossError("CSV: in the header a quote is opened and never closed: the whole file was read as one name");
        header_ = std::move(record);
        if (!header_[0].compare(0, 3, "\xEF\xBB\xBF")) header_[0].erase(0, 3);
        continue;
      }
      *row = ToRow(std::move(record));
      return true;
    }
  }

 private:
  absl::Status Fill() {
    char buffer[1 << 15];
    const auto read = bytes_->Read(buffer, sizeof(buffer));
    if (!read.ok()) return read.status();
    if (*read > 0) {
      if (csv_parse(&parser_, buffer, *read, &OnField, &OnRecord, this) != *read) return Failure();
      if (pending_bytes_ + csv_get_buffer_size(&parser_) > 2 * kMostRowBytes) {
        return absl::DataLossError(absl::StrCat("record ", number_ + records_.size() + 1, " has more than ", kMostRowBytes, " bytes: is a quote left open?"));
      }
      return absl::OkStatus();
    }
    ended_ = true;
    constexpr int kFieldBegun = 2;  // libcsv's state within a field; its own check of this comes only with all of CSV_STRICT
    if (parser_.pstate == kFieldBegun && parser_.quoted) {
      // The field that the quote opens swallowed the rest of the file: one bad row, which says so.
      fields_.clear();
      records_.push_back({});
      return absl::OkStatus();
    }
    return csv_fini(&parser_, &OnField, &OnRecord, this) == 0 ? absl::OkStatus() : Failure();
  }

  absl::Status Failure() { return absl::DataLossError(absl::StrCat("CSV: ", csv_strerror(csv_error(&parser_)))); }

  static void OnField(void* field, size_t size, void* self) {
    auto* reader = static_cast<CsvReader*>(self);
    reader->fields_.emplace_back(static_cast<const char*>(field), size);
    reader->pending_bytes_ += size;
  }
  static void OnRecord(int, void* self) {
    auto* reader = static_cast<CsvReader*>(self);
    if (!reader->fields_.empty()) reader->records_.push_back(std::move(reader->fields_));
    reader->fields_.clear();
    reader->pending_bytes_ = 0;
  }

  Row ToRow(std::vector<std::string> record) {
    Row row{.number = ++number_};
    if (record.empty()) {
      row.problem = "a quote is opened and never closed: the rest of the file was read as one field";
    } else if (record.size() != header_.size()) {
      row.problem = absl::StrCat("has ", record.size(), " fields, the header ", header_.size());
    }
    for (size_t i = 0; i < record.size() && row.problem.empty(); ++i) {
      if (!IsUtf8(record[i])) row.problem = "not valid UTF-8";
    }
    for (size_t i = 0; i < record.size() && row.problem.empty(); ++i) row.cells.emplace_back(header_[i], Row::Cell{std::move(record[i])});
    if (!row.problem.empty()) row.cells.clear();
    return row;
  }

  std::unique_ptr<ByteSource> bytes_;
  csv_parser parser_;
  std::vector<std::string> header_, fields_;
  std::deque<std::vector<std::string>> records_;
  size_t pending_bytes_ = 0;
  int64_t number_ = 0;
  bool ended_ = false;
};

}  // namespace

std::unique_ptr<RowReader> MakeCsvReader(std::unique_ptr<ByteSource> bytes, char delimiter) {
  return std::make_unique<CsvReader>(std::move(bytes), delimiter);
}

}  // namespace precis::eval
