#include "runtime/tokenizer/pretokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "runtime/tokenizer/char_class.h"

namespace precis::runtime {
namespace {

using testing::ElementsAre;

std::vector<std::string> Words(std::string_view text) {
  std::vector<std::string> words;
  for (size_t pos = 0; pos < text.size();) {
    const size_t end = WordEnd(text, pos);
    EXPECT_GT(end, pos);
    words.emplace_back(text.substr(pos, end - pos));
    pos = end;
  }
  return words;
}

TEST(WordEnd, KeepsOneSpaceInFrontOfAWord) {
  EXPECT_THAT(Words("The cat, 12 hats!"), ElementsAre("The", " cat", ",", " 12", " hats", "!"));
}

TEST(WordEnd, CutsLettersFromNumbers) { EXPECT_THAT(Words("a1b22 c3"), ElementsAre("a", "1", "b", "22", " c", "3")); }

TEST(WordEnd, CutsContractionsInLowerCaseOnly) {
  EXPECT_THAT(Words("it's we'll I'd they've you're I'm can't"),
              ElementsAre("it", "'s", " we", "'ll", " I", "'d", " they", "'ve", " you", "'re", " I", "'m", " can", "'t"));
  EXPECT_THAT(Words("IT'S 'lx 'r'"), ElementsAre("IT", "'", "S", " '", "lx", " '", "r", "'"));
  EXPECT_THAT(Words("'"), ElementsAre("'"));
}

TEST(WordEnd, CutsAContractionOffTheStartOfAWord) { EXPECT_THAT(Words("'sad"), ElementsAre("'s", "ad")); }

TEST(WordEnd, TakesNoContractionBehindAnotherSign) {
  EXPECT_THAT(Words("''s"), ElementsAre("''", "s"));
  EXPECT_THAT(Words(" 's"), ElementsAre(" '", "s"));
}

TEST(WordEnd, LeavesTheLastSpaceToTheNextWord) {
  EXPECT_THAT(Words("a   b"), ElementsAre("a", "  ", " b"));
  EXPECT_THAT(Words("a\n\nb"), ElementsAre("a", "\n", "\n", "b"));
  EXPECT_THAT(Words("a \n b"), ElementsAre("a", " \n", " b"));
  EXPECT_THAT(Words("a  "), ElementsAre("a", "  "));
  EXPECT_THAT(Words("\t\tx"), ElementsAre("\t", "\t", "x"));
}

TEST(WordEnd, KnowsUnicode) {
  EXPECT_THAT(Words("\u00e9t\u00e9 \u6771\u4eac\u0663\u00bd\u3000x"),
              ElementsAre("\u00e9t\u00e9", " \u6771\u4eac", "\u0663\u00bd", "\u3000", "x"));
  EXPECT_THAT(Words("e\u0301"), ElementsAre("e", "\u0301"));  // a combining mark is no letter
  EXPECT_THAT(Words("\u00a0\u2003a"), ElementsAre("\u00a0", "\u2003", "a"));
  EXPECT_THAT(Words("\u200ba"), ElementsAre("\u200b", "a"));  // ZERO WIDTH SPACE is no white space
}

TEST(WordEnd, TakesBytesThatAreNoUtf8OneByOne) {
  EXPECT_THAT(Words("a\xFF\xFE b"), ElementsAre("a", "\xFF", "\xFE", " b"));
  EXPECT_THAT(Words("  \xE2\x82"), ElementsAre(" ", " ", "\xE2", "\x82"));
}

TEST(ClassOf, KnowsWhatUnicode16Added) {
  EXPECT_EQ(ClassOf(0x1C89), CharClass::kLetter);
  EXPECT_EQ(ClassOf(0x10D40), CharClass::kNumber);
  EXPECT_EQ(ClassOf(0x2EE5D), CharClass::kLetter);
  EXPECT_EQ(ClassOf(0x2EE5E), CharClass::kOther);
  EXPECT_EQ(ClassOf(0x10FFFF), CharClass::kOther);
}

}  // namespace
}  // namespace precis::runtime
