#include "runtime/tokenizer/word_table.h"

#include <gtest/gtest.h>

#include <string>

namespace precis::runtime {
namespace {

TEST(WordTable, FindsWordsOfEveryLengthWhereverTheyStand) {
  WordTable words(16);
  const std::string letters = "abcdefghijklmnopqrstuvwxyz";
  for (int length = 1; length <= 16; ++length) words.Insert(letters.substr(3, length), length);
  for (size_t length = 1; length <= 16; ++length) {
    const std::string before = "xyz" + letters.substr(3, length);  // at the end of the text
    EXPECT_EQ(words.Find(before, 3, 3 + length), static_cast<int32_t>(length));
    EXPECT_EQ(words.Find(letters, 3, 3 + length), static_cast<int32_t>(length));  // with more behind it
    EXPECT_EQ(words.Find(letters, 4, 4 + length), WordTable::kNone);
  }
  EXPECT_EQ(words.Find(letters, 3, 20), WordTable::kNone);  // too long
}

TEST(WordTable, TellsZeroBytesFromPadding) {
  WordTable words(4);
  words.Insert("a", 1);
  words.Insert(std::string("a\0", 2), 2);
  words.Insert(std::string("\0", 1), 3);
  EXPECT_EQ(words.Find("a", 0, 1), 1);
  EXPECT_EQ(words.Find(std::string("a\0", 2), 0, 2), 2);
  EXPECT_EQ(words.Find(std::string("a\0\0", 3), 0, 3), WordTable::kNone);
  EXPECT_EQ(words.Find(std::string("\0\0", 2), 0, 1), 3);
  EXPECT_EQ(words.Find(std::string("\0\0", 2), 0, 2), WordTable::kNone);
}

TEST(WordTable, FindsAllOfManyWords) {
  WordTable words(50000);
  for (int i = 0; i < 50000; ++i) words.Insert("word" + std::to_string(i), i);
  for (int i = 0; i < 50000; ++i) {
    const std::string word = "word" + std::to_string(i);
    ASSERT_EQ(words.Find(word, 0, word.size()), i);
  }
}

}  // namespace
}  // namespace precis::runtime
