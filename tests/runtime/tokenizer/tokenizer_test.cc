#include "runtime/tokenizer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <ctime>
#include <random>
#include <string>
#include <thread>
#include <vector>

namespace precis::runtime {
namespace {

class TokenizerTest : public testing::Test {
 protected:
  void SetUp() override {
    auto loaded = Tokenizer::Load(std::string(PRECIS_SOURCE_DIR) + "/tests/runtime/tokenizer/data/small");
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    tokenizer_ = *std::move(loaded);
  }

  std::unique_ptr<const Tokenizer> tokenizer_;
};

TEST_F(TokenizerTest, GivesAnyBytesBack) {
  std::mt19937 random(1);
  for (int round = 0; round < 2000; ++round) {
    std::string bytes(random() % 100, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random());
    ASSERT_EQ(tokenizer_->DecodeBytes(tokenizer_->Encode(bytes)), bytes);
  }
}

TEST_F(TokenizerTest, EncodesBadBytesOneByOne) {
  const std::vector<int32_t> ids = tokenizer_->Encode("\xE2\x82 \xE2\x82\xAC\xFF");
  ASSERT_GE(ids.size(), 5u);
  EXPECT_EQ(tokenizer_->TokenBytes(ids[0]), "\xE2");
  EXPECT_EQ(tokenizer_->TokenBytes(ids[1]), "\x82");
  EXPECT_EQ(tokenizer_->TokenBytes(ids.back()), "\xFF");
}

TEST_F(TokenizerTest, MakesNoSpecialTokenFromText) {
  ASSERT_EQ(tokenizer_->end_of_text(), 0);
  EXPECT_EQ(tokenizer_->TokenBytes(0), "<|endoftext|>");
  for (const std::string text : {"<|endoftext|>", "a<|endoftext|><|endoftext|> b", " <|endoftext|>\n"}) {
    const std::vector<int32_t> ids = tokenizer_->Encode(text);
    EXPECT_EQ(std::count(ids.begin(), ids.end(), tokenizer_->end_of_text()), 0);
    EXPECT_EQ(tokenizer_->DecodeBytes(ids), text);
  }
}

TEST_F(TokenizerTest, GivesNothingForIdsOutsideTheVocabulary) {
  EXPECT_EQ(tokenizer_->DecodeBytes({-1, tokenizer_->vocabulary_size(), INT32_MAX, INT32_MIN}), "");
  EXPECT_EQ(tokenizer_->TokenBytes(-1), "");
  EXPECT_TRUE(tokenizer_->Encode("").empty());
}

TEST_F(TokenizerTest, IsSafeFromManyThreads) {
  const std::string text = "The harbour town's gulls weren't worried: 25,000 kilograms, caf\u00e9, \u6771\u4eac. ";
  const std::vector<int32_t> expected = tokenizer_->Encode(text);
  std::vector<std::thread> threads;
  std::vector<int> wrong(4);
  for (size_t t = 0; t < wrong.size(); ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 500; ++i) wrong[t] += tokenizer_->Encode(text) != expected;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, std::vector<int>(4));
}

// The least processor time of a few tries, so that a busy machine hardly counts.
double SecondsToEncode(const Tokenizer& tokenizer, const std::string& text) {
  double least = 1e9;
  for (int i = 0; i < 3; ++i) {
    const std::clock_t start = std::clock();
    EXPECT_FALSE(tokenizer.Encode(text).empty());
    least = std::min(least, static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC);
  }
  return least;
}

// A quadratic algorithm would take 400 times as long for 20 times the letters, and minutes for the million.
TEST_F(TokenizerTest, TakesTimeLinearInTheLengthOfAWord) {
  std::mt19937 random(3);
  std::string letters(1'000'000, ' ');
  for (char& letter : letters) letter = static_cast<char>('a' + random() % 26);
  for (const std::string& word : {letters, std::string(letters.size(), 'a'), std::string(letters.size(), ' ') + "x",
                                  std::string(letters.size(), '\xE2')}) {
    const double part = SecondsToEncode(*tokenizer_, word.substr(0, word.size() / 20));
    const double whole = SecondsToEncode(*tokenizer_, word);
    EXPECT_LT(whole, 100 * part + 0.05) << "for a word of " << word.substr(0, 10);
  }
}

}  // namespace
}  // namespace precis::runtime
