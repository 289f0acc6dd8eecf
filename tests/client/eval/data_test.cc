// The data readers: formats, packing, bad rows, columns, sampling.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>

#include "absl/strings/str_cat.h"
#include "client/eval/data/dataset.h"

namespace precis::eval {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class DataTest : public ::testing::Test {
 protected:
  DataTest() {
    const auto* const test = ::testing::UnitTest::GetInstance()->current_test_info();
    folder_ = std::filesystem::temp_directory_path() / absl::StrCat("precis-eval-data-", test->name(), getpid());
    std::filesystem::create_directories(folder_);
  }
  ~DataTest() override { std::filesystem::remove_all(folder_); }

  std::string Write(const std::string& name, const std::string& content) {
    const auto path = folder_ / name;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << content;
    return path.string();
  }

  static absl::StatusOr<Dataset> Read(const std::string& path, Columns columns = {}) { return ReadDataset({.paths = {path}, .columns = std::move(columns)}); }

  std::filesystem::path folder_;
};

std::string Gzip(const std::string& text) {
  z_stream stream = {};
  deflateInit2(&stream, 6, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY);
  std::string packed(deflateBound(&stream, text.size()) + 64, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(packed.data());
  stream.avail_out = static_cast<uInt>(packed.size());
  deflate(&stream, Z_FINISH);
  packed.resize(stream.total_out);
  deflateEnd(&stream);
  return packed;
}

std::string Xz(const std::string& text) {
  std::string packed(lzma_stream_buffer_bound(text.size()), '\0');
  size_t size = 0;
  lzma_easy_buffer_encode(6, LZMA_CHECK_CRC64, nullptr, reinterpret_cast<const uint8_t*>(text.data()), text.size(), reinterpret_cast<uint8_t*>(packed.data()), &size, packed.size());
  packed.resize(size);
  return packed;
}

std::string Zstd(const std::string& text) {
  std::string packed(ZSTD_compressBound(text.size()), '\0');
  packed.resize(ZSTD_compress(packed.data(), packed.size(), text.data(), text.size(), 3));
  return packed;
}

std::string Rows(int count) {
  std::string text;
  for (int i = 0; i < count; ++i) {
    absl::StrAppend(&text, "{\"id\": \"d", i, "\", \"article\": \"Text ", i, " ü.\", \"highlights\": \"One.\\nTwo.\", \"source\": \"", i % 2 ? "cnn" : "dailymail", "\"}\n");
  }
  return text;
}

TEST_F(DataTest, JsonLinesWithRecognisedColumns) {
  const auto data = Read(Write("a.jsonl", Rows(3)));
  ASSERT_TRUE(data.ok()) << data.status();
  ASSERT_EQ(data->documents.size(), 3u);
  EXPECT_EQ(data->documents[1].id, "d1");
  EXPECT_EQ(data->documents[1].text, "Text 1 ü.");
  EXPECT_THAT(data->documents[1].references, ElementsAre("One.\nTwo."));
  EXPECT_EQ(data->documents[1].group, "cnn");
  EXPECT_EQ(data->bad_rows_total, 0);
}

TEST_F(DataTest, PackedFilesOfSeveralStreamsAreReadWhole) {
  const std::string first = Rows(500), second = Rows(7);
  for (const auto& [name, content] : {std::pair{"a.jsonl.gz", Gzip(first) + Gzip(second)}, {"a.jsonl.xz", Xz(first) + Xz(second)}, {"a.jsonl.zst", Zstd(first) + Zstd(second)}}) {
    const auto data = Read(Write(name, content));
    ASSERT_TRUE(data.ok()) << name << data.status();
    EXPECT_EQ(data->documents.size(), 507u) << name;
    EXPECT_EQ(data->bad_rows_total, 0) << name;
  }
}

TEST_F(DataTest, ADamagedOrCutFileKeepsWhatCameBefore) {
  std::string text;  // random letters: packs badly, so that the cut is far behind the first rows
  uint32_t state = 1;
  for (int i = 0; i < 4000; ++i) {
    text += R"({"highlights": "x.", "article": ")";
    for (int k = 0; k < 60; ++k) text += static_cast<char>('a' + ((state = state * 1664525 + 1013904223) >> 24) % 26);
    text += "\"}\n";
  }
  for (const auto& [name, content] : {std::pair{"cut.jsonl.gz", Gzip(text)}, {"cut.jsonl.xz", Xz(text)}, {"cut.jsonl.zst", Zstd(text)}}) {
    const auto data = Read(Write(name, content.substr(0, content.size() - content.size() / 8)));
    ASSERT_TRUE(data.ok()) << name << data.status();
    EXPECT_GT(data->documents.size(), 100u) << name;
    EXPECT_LT(data->documents.size(), 4000u) << name;
    ASSERT_FALSE(data->bad_rows.empty()) << name;
    EXPECT_THAT(data->bad_rows.back().problem, HasSubstr("the rest of the file is left out")) << name;
  }
}

TEST_F(DataTest, BadJsonRowsAreListedWithTheirLine) {
  const std::string text = absl::StrCat(Rows(1), "{\n\n[1]\n\"x\"\n{\"article\": \"\", \"highlights\": \"x\"}\n{\"article\": \"a\", \"highlights\": \" \"}\n{\"article\": \"a\"}\n",
                                        "{\"article\": \"\xff\", \"highlights\": \"x\"}\n", std::string(200, '['), "\n", Rows(1));
  const auto data = Read(Write("a.jsonl", text));
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_EQ(data->documents.size(), 2u);
  ASSERT_EQ(data->bad_rows_total, 8);
  const std::vector<std::pair<int64_t, const char*>> expected = {{2, "not valid JSON"}, {4, "JSON array"}, {5, "no JSON object"}, {6, "\"article\" is empty"},
                                                               {7, "\"highlights\" is empty"}, {8, "has no \"highlights\""}, {9, "UTF-8"}, {10, "nested too deeply"}};
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(data->bad_rows[i].row, expected[i].first);
    EXPECT_THAT(data->bad_rows[i].problem, HasSubstr(expected[i].second));
  }
}

TEST_F(DataTest, CsvWithQuotesNewlinesAndCarriageReturns) {
  const auto data = Read(Write("a.csv", "\xEF\xBB\xBFid,article,highlights\r\n1,\"He said \"\"no\"\",\r\nthen left.\",\"A.\nB.\"\r\n2, plain ,x\r\n3,only two\r\n4,a,b,c\r\n5,z,\xff\r\n"));
  ASSERT_TRUE(data.ok()) << data.status();
  ASSERT_EQ(data->documents.size(), 2u);
  EXPECT_EQ(data->documents[0].text, "He said \"no\",\r\nthen left.");
  EXPECT_THAT(data->documents[0].references, ElementsAre("A.\nB."));
  EXPECT_EQ(data->documents[1].text, " plain ");
  ASSERT_EQ(data->bad_rows_total, 3);
  EXPECT_EQ(data->bad_rows[0].row, 3);
  EXPECT_THAT(data->bad_rows[0].problem, HasSubstr("has 2 fields, the header 3"));
  EXPECT_THAT(data->bad_rows[1].problem, HasSubstr("has 4 fields"));
  EXPECT_THAT(data->bad_rows[2].problem, HasSubstr("UTF-8"));
}

TEST_F(DataTest, AnOpenQuoteIsABadRowNotALostFile) {
  const auto data = Read(Write("a.csv", "article,highlights\na,b\n\"never closed,x\ny,z\n"));
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_EQ(data->documents.size(), 1u);
  ASSERT_EQ(data->bad_rows_total, 1);
  EXPECT_THAT(data->bad_rows[0].problem, HasSubstr("never closed"));
}

TEST_F(DataTest, AnOpenQuoteInTheHeaderIsAnError) {
  const auto data = Read(Write("a.csv", "article,\"highlights\na,b\n"));
  EXPECT_EQ(data.status().code(), absl::StatusCode::kInvalidArgument) << data.status();
  EXPECT_THAT(std::string(data.status().message()), HasSubstr("in the header a quote is opened and never closed"));
}

TEST_F(DataTest, StoryFilesOfAFolder) {
  Write("cnn/stories/b.story", "(CNN) First.\n\nSecond.\n\n@highlight\n\nOne point\n\n@highlight\n\nAnother\n");
  Write("dailymail/stories/a.story", "Text.\n\n@highlight\n\nPoint\n");
  Write("cnn/stories/c.story", "No highlights here.\n");
  const auto data = Read(folder_.string());
  ASSERT_TRUE(data.ok()) << data.status();
  ASSERT_EQ(data->documents.size(), 2u);
  EXPECT_EQ(data->documents[0].id, "b");
  EXPECT_EQ(data->documents[0].text, "(CNN) First.\nSecond.");
  EXPECT_THAT(data->documents[0].references, ElementsAre("One point\nAnother"));
  EXPECT_EQ(data->documents[0].group, "cnn");
  EXPECT_EQ(data->documents[1].group, "dailymail");
  ASSERT_EQ(data->bad_rows_total, 1);
  EXPECT_THAT(data->bad_rows[0].problem, HasSubstr("@highlight"));
}

TEST_F(DataTest, ATextFileIsADocumentWithoutReference) {
  const auto data = Read(Write("essay.txt", "\xEF\xBB\xBFSome text.\n"));
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_EQ(data->documents[0].id, "essay");
  EXPECT_EQ(data->documents[0].text, "Some text.\n");
  EXPECT_TRUE(data->documents[0].references.empty());
}

TEST_F(DataTest, ListsAreSeveralReferencesAndJoinedDocuments) {
  const auto data = Read(Write("a.jsonl", R"({"source": ["A.", "B."], "target": ["one", "", "two"], "paper_id": 7})" "\n"));
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_EQ(data->documents[0].text, "A.\nB.");
  EXPECT_THAT(data->documents[0].references, ElementsAre("one", "two"));
  EXPECT_EQ(data->documents[0].id, "7");
}

TEST_F(DataTest, WrongColumnsAreAnErrorThatNamesThoseThatThereAre) {
  const std::string path = Write("a.csv", "foo,bar\n1,2\n");
  EXPECT_THAT(std::string(Read(path).status().message()), HasSubstr("its columns: foo, bar"));
  EXPECT_THAT(std::string(Read(path, {.document = "foo", .reference = "nope"}).status().message()), HasSubstr("no column \"nope\" (--reference-column)"));
  const auto data = Read(path, {.document = "foo", .reference = "bar"});
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_EQ(data->documents[0].text, "1");
}

TEST_F(DataTest, OpeningErrorsSayWhatToDo) {
  EXPECT_THAT(std::string(Read((folder_ / "absent.csv").string()).status().message()), HasSubstr("No such file"));
  EXPECT_THAT(std::string(Read(Write("a.docx", "x")).status().message()), HasSubstr("known are .jsonl"));
  EXPECT_THAT(std::string(Read(Write("empty.jsonl", "")).status().message()), HasSubstr("no usable row"));
  EXPECT_THAT(std::string(Read(Write("p.parquet.gz", "x")).status().message()), HasSubstr("unpack"));
  if (HasParquet()) {
    EXPECT_EQ(Read(Write("broken.parquet", "PAR1 not really PAR1")).status().code(), absl::StatusCode::kDataLoss);
  }
}

TEST_F(DataTest, SamplesAreFixedByTheirSeedAndUniform) {
  const std::string path = Write("a.jsonl", Rows(100));
  const auto ids = [&](uint64_t seed) {
    const auto data = ReadDataset({.paths = {path}, .sample = 10, .seed = seed});
    std::vector<std::string> found;
    for (const Document& document : data->documents) found.push_back(document.id);
    return found;
  };
  EXPECT_EQ(ids(5), ids(5));
  EXPECT_NE(ids(5), ids(6));
  EXPECT_THAT(ids(5), ElementsAre("d16", "d18", "d22", "d27", "d31", "d60", "d66", "d74", "d86", "d97"));  // on every machine
  std::map<std::string, int> counts;
  for (uint64_t seed = 0; seed < 1000; ++seed) {
    for (const std::string& id : ids(seed)) ++counts[id];
  }
  // Each is drawn 100 times in the mean, with a standard deviation of 9.5.
  for (int i = 0; i < 100; ++i) EXPECT_NEAR(counts[absl::StrCat("d", i)], 100, 45) << i;
}

TEST_F(DataTest, ALineOfFiftyMegabytesIsADocumentAndALongerOneABadRow) {
  const std::string big(50 << 20, 'x');
  const char* const begin = "{\"highlights\": \"s\", \"article\": \"";
  const std::string text = absl::StrCat(begin, big, "\"}\n", begin, big, big, "\"}\n", Rows(1));
  const auto data = Read(Write("big.jsonl", text));
  ASSERT_TRUE(data.ok()) << data.status();
  ASSERT_EQ(data->documents.size(), 2u);
  EXPECT_EQ(data->documents[0].text.size(), big.size());
  ASSERT_EQ(data->bad_rows_total, 1);
  EXPECT_THAT(data->bad_rows[0].problem, HasSubstr("has more than"));
}

}  // namespace
}  // namespace precis::eval
