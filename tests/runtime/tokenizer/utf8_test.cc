#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "runtime/tokenizer.h"

namespace precis::runtime {
namespace {

constexpr char kReplacement[] = "\xEF\xBF\xBD";

std::string Replacements(int count) {
  std::string text;
  for (int i = 0; i < count; ++i) text += kReplacement;
  return text;
}

TEST(IsValidUtf8, AcceptsTheEdgesOfEachLength) {
  for (const std::string_view text :
       {std::string_view(""), std::string_view("\0", 1), std::string_view("\x7F"), std::string_view("\xC2\x80"),
        std::string_view("\xDF\xBF"), std::string_view("\xE0\xA0\x80"), std::string_view("\xED\x9F\xBF"),
        std::string_view("\xEE\x80\x80"), std::string_view("\xEF\xBF\xBF"), std::string_view("\xF0\x90\x80\x80"),
        std::string_view("\xF4\x8F\xBF\xBF")}) {
    EXPECT_TRUE(IsValidUtf8(text, nullptr)) << testing::PrintToString(text);
  }
}

TEST(IsValidUtf8, NamesTheFirstBadByte) {
  struct Case {
    std::string_view text;
    size_t offset;
  };
  for (const Case& c : {Case{"ab\x80", 2}, Case{"\xC0\xAF", 0}, Case{"x\xE0\x9F\xBF", 1}, Case{"\xED\xA0\x80", 0},
                        Case{"\xF0\x8F\xBF\xBF", 0}, Case{"\xF4\x90\x80\x80", 0}, Case{"\xF5\x80\x80\x80", 0},
                        Case{"caf\xC3", 3}, Case{"\xE2\x82", 0}, Case{"ok\xFF", 2}}) {
    size_t offset = 99;
    EXPECT_FALSE(IsValidUtf8(c.text, &offset));
    EXPECT_EQ(offset, c.offset) << testing::PrintToString(c.text);
  }
}

// The expected counts are what Python's bytes.decode(errors="replace") gives; the golden test asks it directly.
TEST(ReplaceInvalidUtf8, GivesOneReplacementForEachMaximalSubpart) {
  EXPECT_EQ(ReplaceInvalidUtf8("plain caf\xC3\xA9"), "plain caf\xC3\xA9");
  EXPECT_EQ(ReplaceInvalidUtf8("\xFF"), Replacements(1));
  EXPECT_EQ(ReplaceInvalidUtf8("\xC0\x80"), Replacements(2));
  EXPECT_EQ(ReplaceInvalidUtf8("\xED\xA0\x80"), Replacements(3));
  EXPECT_EQ(ReplaceInvalidUtf8("\xF0\x9F\x98"), Replacements(1));
  EXPECT_EQ(ReplaceInvalidUtf8("\xF0\x9F\x98z"), Replacements(1) + "z");
  EXPECT_EQ(ReplaceInvalidUtf8("\xE2\x82\xE2\x82\xAC"), Replacements(1) + "\xE2\x82\xAC");
  EXPECT_EQ(ReplaceInvalidUtf8("\xF4\x90\x80\x80"), Replacements(4));
}

// A tokenizer whose token `i` is the byte `i`, to drive the streaming decoder byte by byte.
class ByteTokenizer : public Tokenizer {
 public:
  ByteTokenizer() {
    for (int i = 0; i < 256; ++i) bytes_.push_back(static_cast<char>(i));
  }
  std::vector<int32_t> Encode(std::string_view text) const override {
    std::vector<int32_t> ids;
    for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
    return ids;
  }
  std::string DecodeBytes(const std::vector<int32_t>& ids) const override { return std::string(ids.begin(), ids.end()); }
  std::string_view TokenBytes(int32_t id) const override { return std::string_view(bytes_).substr(id, 1); }
  int32_t vocabulary_size() const override { return 256; }
  int32_t end_of_text() const override { return -1; }

 private:
  std::string bytes_;
};

TEST(StreamingDecoder, HoldsBackWhatMayBecomeACodePoint) {
  const ByteTokenizer tokenizer;
  StreamingDecoder decoder(tokenizer);
  EXPECT_EQ(decoder.Push(0xF0), "");
  EXPECT_EQ(decoder.Push(0x9F), "");
  EXPECT_EQ(decoder.Push(0x98), "");
  EXPECT_EQ(decoder.Push(0x80), "\xF0\x9F\x98\x80");
  EXPECT_EQ(decoder.Push('a'), "a");
  EXPECT_EQ(decoder.Finish(), "");
}

TEST(StreamingDecoder, ReplacesWhatCannotAndWhatDidNot) {
  const ByteTokenizer tokenizer;
  StreamingDecoder decoder(tokenizer);
  EXPECT_EQ(decoder.Push(0xE2), "");
  EXPECT_EQ(decoder.Push('a'), std::string(kReplacement) + "a");
  EXPECT_EQ(decoder.Push(0x80), kReplacement);
  EXPECT_EQ(decoder.Push(0xE2), "");
  EXPECT_EQ(decoder.Push(0x82), "");
  EXPECT_EQ(decoder.Finish(), kReplacement);
  EXPECT_EQ(decoder.Finish(), "");
}

TEST(StreamingDecoder, JoinsToTheWholeForEveryThreeBytes) {
  const ByteTokenizer tokenizer;
  // Every lead byte with the edges of each range of continuation bytes.
  for (int first = 0; first < 256; ++first) {
    for (const int second : {0x00, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC2, 0xE0, 0xED, 0xF4, 0xFF}) {
      for (const int third : {0x00, 0x7F, 0x80, 0xBF, 0xC2, 0xF0}) {
        const std::vector<int32_t> ids = {first, second, third, 0x80, 'z', first};
        StreamingDecoder decoder(tokenizer);
        std::string streamed;
        for (const int32_t id : ids) {
          const std::string piece = decoder.Push(id);
          ASSERT_TRUE(IsValidUtf8(piece, nullptr));
          streamed += piece;
        }
        streamed += decoder.Finish();
        ASSERT_EQ(streamed, ReplaceInvalidUtf8(tokenizer.DecodeBytes(ids))) << first << " " << second << " " << third;
      }
    }
  }
}

}  // namespace
}  // namespace precis::runtime
