// The data readers on any bytes: packed or not, as JSON lines, CSV, TSV and a story. No crash, no endless loop, valid UTF-8 out.
#include <cstdlib>

#include "client/eval/data/row_reader.h"
#include "client/eval/text/unicode.h"
#include "client/eval/text/words.h"

using precis::eval::BytesOf;
using precis::eval::Row;
using precis::eval::RowReader;
using precis::eval::Unpack;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  std::unique_ptr<RowReader> reader;
  switch (data[0] % 4) {
    case 0: reader = precis::eval::MakeJsonlReader(Unpack(BytesOf(bytes))); break;
    case 1: reader = precis::eval::MakeCsvReader(Unpack(BytesOf(bytes)), ','); break;
    case 2: reader = precis::eval::MakeCsvReader(Unpack(BytesOf(bytes)), '\t'); break;
    default: reader = precis::eval::MakeStoryReader(Unpack(BytesOf(bytes)), "name"); break;
  }
  Row row;
  for (int rows = 0; rows < 100000; ++rows) {
    const auto more = reader->Next(&row);
    if (!more.ok() || !*more) return 0;
    if (!row.problem.empty() && !row.cells.empty()) std::abort();
    for (const auto& [name, cell] : row.cells) {
      for (const std::string& text : cell) {
        if (!precis::eval::IsUtf8(text)) std::abort();
        if (text.size() < 4096) {
          precis::eval::SplitWords(text);
          precis::eval::SplitSentences(text);
        }
      }
    }
  }
  return 0;
}
