// Rows, documents, batches and their order.
#include <set>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "runtime/training/batches.h"
#include "runtime/training/documents.h"
#include "tests/runtime/model/synthetic_model.h"
#include "tests/runtime/training/status_says.h"

namespace precis::test {
namespace {

using namespace precis::runtime;  // NOLINT: this test is about most of it

TEST(Rows, KnownNamesAndLists) {
  auto row = ParseJsonRow(R"({"article": "a b", "highlights": "c", "source": "cnn", "n": 3})", "f:1");
  ASSERT_TRUE(row.ok());
  EXPECT_EQ(row->document, "a b");
  EXPECT_EQ(row->summary, "c");
  row = ParseJsonRow(R"({"source": ["a", "b"], "target": ["c"]})", "f:1");
  ASSERT_TRUE(row.ok());
  EXPECT_EQ(row->document, "a\nb");
  EXPECT_EQ(row->summary, "c");
  row = ParseJsonRow(R"({"text": "alone", "summary": null})", "f:1");
  ASSERT_TRUE(row.ok());
  EXPECT_EQ(row->summary, "");
}

TEST(Rows, BadOnesSayWhereAndWhat) {
  EXPECT_TRUE(Says(ParseJsonRow(R"({"title": "x"})", "data.jsonl:7").status(), "data.jsonl:7: no document"));
  EXPECT_TRUE(Says(ParseJsonRow("{\"article\": ", "data.jsonl:8").status(), "data.jsonl:8: is not valid JSON"));
  EXPECT_TRUE(Says(ParseJsonRow("[1]", "data.jsonl:9").status(), "must hold a JSON object"));
  EXPECT_TRUE(Says(ParseJsonRow(R"({"article": 3})", "d:1").status(), "\"article\" must be a string"));
  EXPECT_TRUE(Says(ParseJsonRow(R"({"article": ["a", 1]})", "d:1").status(), "list of strings"));
  EXPECT_TRUE(Says(ParseJsonRow(R"({"article": " "})", "d:1").status(), "the document is empty"));
}

TEST(Rows, FilesStopAtTheFirstBadRowOrSkipThem) {
  TempDir dir;
  WriteFile(dir.file("a.jsonl"), "{\"article\": \"one\"}\n\n{\"article\": 2}\n{\"article\": \"three\"}\r\n");
  WriteFile(dir.file("b.txt"), "four\nfive\n");
  WriteFile(dir.file("c.jsonl"), "{\"article\": \"\\ud800\"}\n");
  WriteFile(dir.file("d.csv"), "x\n");
  WriteFile(dir.file("empty.jsonl"), "\n");
  int64_t skipped = 0;
  EXPECT_TRUE(Says(ReadRows({dir.file("a.jsonl")}, false, &skipped).status(), "a.jsonl:3: \"article\" must be"));
  const auto rows = ReadRows({dir.file("a.jsonl"), dir.file("b.txt")}, true, &skipped);
  ASSERT_TRUE(rows.ok());
  EXPECT_EQ(skipped, 1);
  ASSERT_EQ(rows->size(), 4u);
  EXPECT_EQ((*rows)[1].document, "three");
  EXPECT_EQ((*rows)[3].document, "five");
  EXPECT_FALSE(ReadRows({dir.file("c.jsonl")}, false, &skipped).ok());
  EXPECT_TRUE(Says(ReadRows({dir.file("d.csv")}, false, &skipped).status(), "expected a .jsonl"));
  EXPECT_TRUE(Says(ReadRows({dir.file("none.jsonl")}, false, &skipped).status(), "none.jsonl: cannot be opened"));
  EXPECT_TRUE(Says(ReadRows({dir.file("empty.jsonl")}, false, &skipped).status(), "no rows"));
}

class DocumentsTest : public testing::Test {
 protected:
  DocumentsTest() {
    WriteByteTokenizer(dir_.path());
    tokenizer_ = *Tokenizer::Load(dir_.path());
  }
  TempDir dir_;
  std::shared_ptr<const Tokenizer> tokenizer_;
};

TEST_F(DocumentsTest, AreTemplateTextSummaryAndEnd) {
  const auto documents = EncodeRows({{"abcdefgh", "xyz"}, {"abcdefghijklmnopqrstuvw", ""}}, *tokenizer_, {.prefix = "<", .suffix = ">", .length = 12, .summary_tokens = 4});
  ASSERT_TRUE(documents.ok());
  ASSERT_EQ(documents->count(), 2);
  const auto text = [&](int64_t i) {
    std::vector<int32_t> tokens(documents->tokens.begin() + documents->begin[i], documents->tokens.begin() + documents->begin[i + 1]);
    EXPECT_EQ(tokens.back(), tokenizer_->end_of_text());
    tokens.pop_back();
    return tokenizer_->DecodeBytes(tokens);
  };
  EXPECT_EQ(text(0), "<abcdef> xy");  // 12 - 4 - 2 tokens of text; of the summary 4 with its end
  EXPECT_EQ(documents->summary_begin[0], 8);
  EXPECT_EQ(text(1), "abcdefghijk");
  EXPECT_EQ(documents->summary_begin[1], documents->length(1));
  EXPECT_TRUE(Says(EncodeRows({{"a", "b"}}, *tokenizer_, {.prefix = "", .suffix = ">>>", .length = 6, .summary_tokens = 4}).status(), "leaves no room"));
}

TEST_F(DocumentsTest, BatchesHoldEachDocumentOnceAnEpochWhole) {
  std::vector<TextRow> rows;
  for (int i = 0; i < 57; ++i) rows.push_back({std::string(1 + i % 13, static_cast<char>('a' + i % 26)) + std::to_string(i), "s"});
  const auto documents = EncodeRows(rows, *tokenizer_, {.prefix = "", .suffix = ">", .length = 32, .summary_tokens = 4});
  ASSERT_TRUE(documents.ok());
  const BatchOptions options = {.max_rows = 64, .document_weight = 0.5f, .summary_weight = 2, .seed = 9, .shard_documents = 10};
  BatchStream stream(&*documents, options, {});
  std::vector<std::vector<int32_t>> seen;
  while (stream.position().epoch == 0 && stream.position().index < documents->count()) {
    const Batch batch = stream.Next();
    ASSERT_LE(batch.rows(), 64);
    for (size_t s = 0; s < batch.begin.size(); ++s) {
      ASSERT_EQ(batch.begin[s], s == 0 ? 0 : batch.begin[s - 1] + batch.length[s - 1]);
      std::vector<int32_t> tokens(batch.tokens.begin() + batch.begin[s], batch.tokens.begin() + batch.begin[s] + batch.length[s]);
      tokens.push_back(batch.targets[batch.begin[s] + batch.length[s] - 1]);
      seen.push_back(tokens);
      for (int r = batch.begin[s]; r < batch.begin[s] + batch.length[s]; ++r) {
        EXPECT_EQ(batch.positions[r], r - batch.begin[s]);
        EXPECT_EQ(batch.weights[r], batch.in_summary[r] ? 2.0f : 0.5f);
        if (r + 1 < batch.begin[s] + batch.length[s]) {
          EXPECT_EQ(batch.targets[r], batch.tokens[r + 1]);
        }
      }
    }
  }
  ASSERT_GE(seen.size(), 57u);  // the epoch's last batch may hold documents of the next
  std::set<std::vector<int32_t>> distinct(seen.begin(), seen.begin() + 57);
  EXPECT_EQ(distinct.size(), 57u);
}

TEST_F(DocumentsTest, AStreamGoesOnFromAnyPosition) {
  std::vector<TextRow> rows(23, TextRow{"abc", "d"});
  for (int i = 0; i < 23; ++i) rows[i].document += std::to_string(i);
  const auto documents = EncodeRows(rows, *tokenizer_, {.prefix = "", .suffix = ">", .length = 32, .summary_tokens = 4});
  ASSERT_TRUE(documents.ok());
  const BatchOptions options = {.max_rows = 40, .seed = 3, .shard_documents = 5};
  BatchStream whole(&*documents, options, {});
  for (int i = 0; i < 30; ++i) {
    BatchStream from_here(&*documents, options, whole.position());
    ASSERT_EQ(whole.Next().tokens, from_here.Next().tokens) << i;
  }
  EXPECT_GT(whole.position().epoch, 1);
}

TEST(Order, IsAPermutationThatDependsOnSeedAndEpoch) {
  const auto a = EpochOrder(1000, 64, 1, 0), b = EpochOrder(1000, 64, 1, 1), c = EpochOrder(1000, 64, 2, 0);
  EXPECT_NE(a, b);
  EXPECT_NE(a, c);
  EXPECT_EQ(a, EpochOrder(1000, 64, 1, 0));
  EXPECT_EQ(std::set<int64_t>(a.begin(), a.end()).size(), 1000u);
  std::set<int64_t> shards;
  for (int i = 0; i < 64; ++i) shards.insert(a[i] / 64);
  EXPECT_LE(shards.size(), 2u);  // documents of a shard stay together (the last shard is short)
}

}  // namespace
}  // namespace precis::test
