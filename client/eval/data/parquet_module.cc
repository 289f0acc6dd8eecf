// Parquet by Apache Arrow, a batch of rows at a time: a file of any size takes the memory of one. A module that open_parquet.cc loads.
#include <arrow/api.h>
#include <arrow/io/file.h>
#include <parquet/arrow/reader.h>
#include <parquet/exception.h>

#include "absl/strings/str_cat.h"
#include "client/eval/data/row_reader.h"
#include "client/eval/text/unicode.h"

namespace precis::eval {
namespace {

absl::Status FromArrow(const std::string& path, const arrow::Status& status) {
  return absl::DataLossError(absl::StrCat("'", path, "': ", std::string(status.message())));
}

bool IsText(const arrow::DataType& type) { return type.id() == arrow::Type::STRING || type.id() == arrow::Type::LARGE_STRING; }

// The text at `index`; the array is of text.
std::string TextAt(const arrow::Array& array, int64_t index) {
  if (array.IsNull(index)) return "";
  if (array.type_id() == arrow::Type::STRING) return static_cast<const arrow::StringArray&>(array).GetString(index);
  return static_cast<const arrow::LargeStringArray&>(array).GetString(index);
}

// False if the column is of a type that holds no text.
bool ReadCell(const arrow::Array& array, int64_t index, Row::Cell* cell) {
  cell->clear();
  const arrow::DataType& type = *array.type();
  if (array.IsNull(index)) return true;
  if (IsText(type)) {
    cell->push_back(TextAt(array, index));
  } else if (type.id() == arrow::Type::DICTIONARY) {
    const auto& dictionary = static_cast<const arrow::DictionaryArray&>(array);
    return ReadCell(*dictionary.dictionary(), dictionary.GetValueIndex(index), cell);
  } else if (type.id() == arrow::Type::LIST) {
    const auto& list = static_cast<const arrow::ListArray&>(array);
    if (!IsText(*list.values()->type())) return false;
    for (int64_t i = list.value_offset(index); i < list.value_offset(index + 1); ++i) cell->push_back(TextAt(*list.values(), i));
  } else if (arrow::is_integer(type.id())) {
    const auto scalar = array.GetScalar(index);
    if (!scalar.ok()) return false;
    cell->push_back((*scalar)->ToString());
  } else {
    return false;
  }
  return true;
}

class ParquetReader final : public RowReader {
 public:
  ParquetReader(std::string path, std::unique_ptr<parquet::arrow::FileReader> file, std::unique_ptr<arrow::RecordBatchReader> batches)
      : path_(std::move(path)), file_(std::move(file)), batches_(std::move(batches)) {}

  absl::StatusOr<bool> Next(Row* row) override {
    while (batch_ == nullptr || index_ == batch_->num_rows()) {
      try {
        const arrow::Status status = batches_->ReadNext(&batch_);
        if (!status.ok()) return FromArrow(path_, status);
      } catch (const std::exception& error) {
        return FromArrow(path_, arrow::Status::IOError(error.what()));
      }
      if (batch_ == nullptr) return false;
      // Counts and offsets come from the file.
      const arrow::Status valid = batch_->ValidateFull();
      if (!valid.ok()) return FromArrow(path_, valid);
      index_ = 0;
    }
    *row = Row{.number = ++number_};
    for (int column = 0; column < batch_->num_columns() && row->problem.empty(); ++column) {
      Row::Cell cell;
      if (!ReadCell(*batch_->column(column), index_, &cell)) continue;
      for (const std::string& text : cell) {
        if (!IsUtf8(text)) row->problem = "not valid UTF-8";
      }
      row->cells.emplace_back(batch_->column_name(column), std::move(cell));
    }
    if (!row->problem.empty()) row->cells.clear();
    ++index_;
    return true;
  }

 private:
  const std::string path_;
  std::unique_ptr<parquet::arrow::FileReader> file_;  // must outlive batches_
  std::unique_ptr<arrow::RecordBatchReader> batches_;
  std::shared_ptr<arrow::RecordBatch> batch_;
  int64_t index_ = 0, number_ = 0;
};

// Never null.
arrow::Result<std::unique_ptr<RowReader>> Open(const std::string& path) {
  ARROW_ASSIGN_OR_RAISE(auto input, arrow::io::ReadableFile::Open(path));
  parquet::arrow::FileReaderBuilder builder;
  ARROW_RETURN_NOT_OK(builder.Open(input));
  parquet::ArrowReaderProperties properties(/*use_threads=*/false);
  properties.set_batch_size(256);
  builder.properties(properties);
  ARROW_ASSIGN_OR_RAISE(std::unique_ptr<parquet::arrow::FileReader> file, builder.Build());
  ARROW_ASSIGN_OR_RAISE(std::unique_ptr<arrow::RecordBatchReader> batches, file->GetRecordBatchReader());
  return std::make_unique<ParquetReader>(path, std::move(file), std::move(batches));
}

}  // namespace

// Null with the reason in *error. The caller owns the reader.
extern "C" RowReader* PrecisOpenParquet(const std::string& path, std::string* error) {
  try {
    auto reader = Open(path);
    if (reader.ok()) return reader->release();
    *error = reader.status().message();
  } catch (const std::exception& exception) {
    *error = exception.what();
  }
  return nullptr;
}

}  // namespace precis::eval
