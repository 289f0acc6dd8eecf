#include "runtime/tokenizer/bpe.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

namespace precis::runtime {
namespace {

ByteTokens Bytes() {
  ByteTokens tokens;
  for (int i = 0; i < 256; ++i) tokens[i] = i;
  return tokens;
}

// The definition of BPE, word for word: O(n^2).
std::vector<int32_t> Reference(const MergeTable& merges, const std::string& word) {
  std::vector<int32_t> ids(word.begin(), word.end());
  while (true) {
    size_t best = 0;
    Merge merge;
    for (size_t i = 0; i + 1 < ids.size(); ++i) {
      const Merge here = merges.Find(ids[i], ids[i + 1]);
      if (here.rank < merge.rank) {
        best = i;
        merge = here;
      }
    }
    if (merge.rank == Merge::kNoRank) return ids;
    ids[best] = merge.id;
    ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(best) + 1);
  }
}

// Merges of random pairs of the letters a to c and of what they became; shuffled: in an order that no training gives.
MergeTable RandomMerges(int count, std::mt19937* random, bool shuffled = true) {
  MergeTable merges(count);
  std::vector<int32_t> ids = {'a', 'b', 'c'};
  std::vector<uint32_t> ranks;
  for (int i = 0; i < count; ++i) ranks.push_back(i);
  if (shuffled) std::shuffle(ranks.begin(), ranks.end(), *random);
  for (int i = 0; i < count; ++i) {
    const int32_t left = ids[(*random)() % ids.size()];
    const int32_t right = ids[(*random)() % ids.size()];
    merges.Insert(left, right, {ranks[i], 256 + i});
    ids.push_back(256 + i);
  }
  return merges;
}

TEST(AppendWordTokens, AgreesWithTheDefinitionForShortAndLongWords) {
  std::mt19937 random(7);
  for (int round = 0; round < 300; ++round) {
    const MergeTable merges = RandomMerges(1 + static_cast<int>(random() % 60), &random);
    for (const size_t length : {1u, 2u, 3u, 7u, 39u, 40u, 41u, 42u, 100u, 200u}) {
      std::string word;
      for (size_t i = 0; i < length; ++i) word.push_back(static_cast<char>('a' + random() % 3));
      std::vector<int32_t> ids;
      AppendWordTokens(merges, Bytes(), word, &ids);
      ASSERT_EQ(ids, Reference(merges, word)) << "round " << round << ": " << word;
    }
  }
}

// Long enough for the queue to keep lists: with a table as training gives it, and with one that makes the queue turn
// into a heap half-way.
TEST(AppendWordTokens, AgreesWithTheDefinitionForVeryLongWords) {
  std::mt19937 random(11);
  for (int round = 0; round < 4; ++round) {
    const MergeTable merges = RandomMerges(1 + 12 * round, &random, round % 2 == 0);
    std::string word;
    for (int i = 0; i < 16500; ++i) word.push_back(static_cast<char>('a' + random() % 3));
    std::vector<int32_t> ids;
    AppendWordTokens(merges, Bytes(), word, &ids);
    ASSERT_EQ(ids, Reference(merges, word)) << "round " << round;
  }
}

TEST(AppendWordTokens, MergesRunsOfOneLetterFromTheLeft) {
  MergeTable merges(1);
  merges.Insert('a', 'a', {0, 256});
  for (const size_t length : {3u, 5u, 101u}) {
    std::vector<int32_t> ids;
    AppendWordTokens(merges, Bytes(), std::string(length, 'a'), &ids);
    std::vector<int32_t> expected(length / 2, 256);
    expected.push_back('a');
    EXPECT_EQ(ids, expected);
  }
}

TEST(MergeTable, LaterPairsReplaceEarlierOnes) {
  MergeTable merges(2);
  merges.Insert(1, 2, {0, 3});
  merges.Insert(1, 2, {1, 4});
  EXPECT_EQ(merges.Find(1, 2).rank, 1u);
  EXPECT_EQ(merges.Find(1, 2).id, 4);
  EXPECT_EQ(merges.Find(2, 1).rank, Merge::kNoRank);
}

TEST(MergeTable, FindsAllOfManyPairs) {
  MergeTable merges(20000);
  for (int32_t i = 0; i < 20000; ++i) merges.Insert(i % 150, i / 150, {static_cast<uint32_t>(i), i});
  for (int32_t i = 0; i < 20000; ++i) ASSERT_EQ(merges.Find(i % 150, i / 150).id, i);
  EXPECT_EQ(merges.Find(150, 0).rank, Merge::kNoRank);
}

}  // namespace
}  // namespace precis::runtime
