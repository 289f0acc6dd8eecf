#include "runtime/cache/kv_cache.h"

#include <numeric>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/memory/kv_arena.h"

namespace precis::runtime {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;

std::vector<int32_t> Tokens(int count, int first = 0) {
  std::vector<int32_t> tokens(count);
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

class KvCacheTest : public ::testing::Test {
 protected:
  KvCache Make(std::vector<int64_t> page_bytes, int64_t budget, uint64_t hash_mask = ~uint64_t{0}) {
    return KvCache(std::move(page_bytes),
                   {budget, true, [this](int pool, int32_t page) { discarded_.emplace_back(pool, page); }, hash_mask});
  }
  // A sequence that prefilled `tokens` and left; its full pages are indexed.
  std::vector<int32_t> Remember(KvCache* cache, const std::vector<int32_t>& tokens, int pool = 0, int variant = 0) {
    std::vector<int32_t> table;
    PrefixCursor cursor = cache->Match(pool, variant, tokens, static_cast<int>(tokens.size() / 16), &table);
    EXPECT_TRUE(cache->Grow(pool, PagesFor(tokens.size()) - cursor.pages, &table));
    cache->Publish(pool, variant, tokens, table, static_cast<int>(tokens.size() / 16), &cursor);
    const auto pages = table;
    cache->Release(pool, &table);
    return pages;
  }
  int Matched(KvCache* cache, const std::vector<int32_t>& tokens, int pool = 0, int variant = 0) {
    std::vector<int32_t> table;
    const int pages = cache->Match(pool, variant, tokens, static_cast<int>(tokens.size() / 16), &table).pages;
    cache->Release(pool, &table);
    return pages;
  }
  std::vector<std::pair<int, int32_t>> discarded_;
};

TEST_F(KvCacheTest, GrowIsAllOrNothingAndKeepsTheBudget) {
  KvCache cache = Make({100}, 550);
  EXPECT_EQ(cache.pages(0), 5);
  std::vector<int32_t> a, b;
  EXPECT_TRUE(cache.Grow(0, 3, &a));
  EXPECT_THAT(a, ElementsAre(0, 1, 2));
  EXPECT_FALSE(cache.Grow(0, 3, &b));
  EXPECT_TRUE(b.empty());
  EXPECT_TRUE(cache.Grow(0, 2, &b));
  EXPECT_EQ(cache.live_bytes(), 500);
  cache.Release(0, &a);
  EXPECT_EQ(cache.live_bytes(), 200);
  EXPECT_EQ(cache.live_peak_bytes(), 500);
  EXPECT_EQ(cache.Check(), nullptr);
}

TEST_F(KvCacheTest, MatchesTheLongestPrefixOfTheSameVariantOnly) {
  KvCache cache = Make({100}, 10000);
  const auto pages = Remember(&cache, Tokens(40));
  std::vector<int32_t> table;
  auto longer = Tokens(64);
  EXPECT_EQ(cache.Match(0, 0, longer, 4, &table).pages, 2);
  EXPECT_THAT(table, ElementsAre(pages[0], pages[1]));
  EXPECT_EQ(cache.live_bytes(), 200);
  EXPECT_EQ(cache.pool(0).refs(pages[0]), 1);
  cache.Release(0, &table);
  EXPECT_EQ(Matched(&cache, Tokens(64), 0, 1), 0);  // another variant
  EXPECT_EQ(cache.Match(0, 0, longer, 1, &table).pages, 1);  // no more than asked
  cache.Release(0, &table);
  longer[20] = 99;
  EXPECT_EQ(Matched(&cache, longer), 1);
  longer[0] = 99;
  EXPECT_EQ(Matched(&cache, longer), 0);
  // The second page's tokens alone are no prefix.
  EXPECT_EQ(Matched(&cache, Tokens(16, 16)), 0);
}

TEST_F(KvCacheTest, CollidingHashesGiveNoWrongPages) {
  KvCache cache = Make({100}, 100000, /*hash_mask=*/0);
  for (int i = 0; i < 50; ++i) Remember(&cache, Tokens(32, 100 * i));
  for (int i = 0; i < 50; ++i) EXPECT_EQ(Matched(&cache, Tokens(32, 100 * i)), 2);
  EXPECT_EQ(Matched(&cache, Tokens(32, 7)), 0);
  EXPECT_EQ(cache.Check(), nullptr);
}

TEST_F(KvCacheTest, EvictsTheLeastRecentlyUsedEndFirst) {
  KvCache cache = Make({100}, 400);
  Remember(&cache, Tokens(32, 0));
  Remember(&cache, Tokens(32, 1000));
  EXPECT_EQ(Matched(&cache, Tokens(32, 0)), 2);  // used again
  std::vector<int32_t> table;
  EXPECT_TRUE(cache.Grow(0, 1, &table));
  EXPECT_EQ(Matched(&cache, Tokens(32, 1000)), 1);
  EXPECT_EQ(Matched(&cache, Tokens(32, 0)), 2);
  EXPECT_EQ(cache.Check(), nullptr);
  cache.Release(0, &table);
}

TEST_F(KvCacheTest, PoolsTakeMemoryFromEachOther) {
  KvCache cache = Make({100, 250}, 600);
  Remember(&cache, Tokens(96, 0), 0);  // all six pages stay cached
  EXPECT_EQ(cache.committed_bytes(), 600);
  std::vector<int32_t> table;
  EXPECT_TRUE(cache.Grow(1, 2, &table));
  EXPECT_LE(cache.committed_bytes(), 600);
  EXPECT_THAT(discarded_, ElementsAre(Pair(0, 5), Pair(0, 4), Pair(0, 3), Pair(0, 2), Pair(0, 1)));
  EXPECT_EQ(Matched(&cache, Tokens(96, 0), 0), 1);
  EXPECT_FALSE(cache.Grow(1, 1, &table));
  EXPECT_EQ(cache.Check(), nullptr);
  cache.Release(1, &table);
}

TEST_F(KvCacheTest, DuplicatesShareOneEntry) {
  KvCache cache = Make({100}, 10000);
  const auto tokens = Tokens(32);
  std::vector<int32_t> a, b;
  PrefixCursor at = cache.Match(0, 0, tokens, 2, &a), bt = cache.Match(0, 0, tokens, 2, &b);
  ASSERT_TRUE(cache.Grow(0, 2, &a) && cache.Grow(0, 2, &b));
  cache.Publish(0, 0, tokens, a, 2, &at);
  cache.Publish(0, 0, tokens, b, 2, &bt);
  EXPECT_EQ(at.entry, bt.entry);
  cache.Release(0, &a);
  cache.Release(0, &b);
  EXPECT_EQ(cache.pool(0).cached(), 2);
  EXPECT_EQ(cache.Check(), nullptr);
}

TEST_F(KvCacheTest, ForkSharesAndWritingCopies) {
  KvCache cache = Make({100}, 400);
  std::vector<int32_t> a;
  ASSERT_TRUE(cache.Grow(0, 2, &a));
  std::vector<int32_t> b = cache.Fork(0, a);
  EXPECT_EQ(cache.live_bytes(), 200);
  EXPECT_EQ(cache.Exclusive(0, a), 0);
  const int32_t shared = a[1];
  int32_t from;
  ASSERT_TRUE(cache.MakeWritable(0, 1, &b, &from));
  EXPECT_EQ(from, shared);
  EXPECT_EQ(a[1], shared);
  EXPECT_NE(b[1], shared);
  EXPECT_EQ(cache.live_bytes(), 300);
  ASSERT_TRUE(cache.MakeWritable(0, 1, &a, &from));  // its own now
  EXPECT_EQ(from, -1);
  std::vector<int32_t> more;
  ASSERT_TRUE(cache.Grow(0, 1, &more));
  EXPECT_FALSE(cache.MakeWritable(0, 0, &b, &from));  // no memory for a copy
  for (auto* table : {&a, &b, &more}) cache.Release(0, table);
  EXPECT_EQ(cache.live_bytes(), 0);
  EXPECT_EQ(cache.Check(), nullptr);
}

TEST_F(KvCacheTest, IndexedPagesAreNotWrittenTo) {
  KvCache cache = Make({100}, 400);
  const auto tokens = Tokens(16);
  Remember(&cache, tokens);
  std::vector<int32_t> table;
  ASSERT_EQ(cache.Match(0, 0, tokens, 1, &table).pages, 1);
  const int32_t page = table[0];
  int32_t from;
  ASSERT_TRUE(cache.MakeWritable(0, 0, &table, &from));
  EXPECT_EQ(from, page);
  EXPECT_NE(table[0], page);
  EXPECT_EQ(Matched(&cache, tokens), 1);
  cache.Release(0, &table);
  EXPECT_EQ(cache.Check(), nullptr);
}

TEST(KvArenaTest, MemoryComesWithUseAndGoesWithDiscard) {
  auto arena = KvArena::Create(/*pages=*/1 << 20, /*page_bytes=*/16384, /*huge_pages=*/false);  // 16 GiB of addresses
  ASSERT_TRUE(arena.ok()) << arena.status();
  EXPECT_EQ((*arena)->ResidentBytes(), 0);
  for (int page = 0; page < 8; ++page) (*arena)->base()[page * 16384 + 5000] = 1;
  EXPECT_EQ((*arena)->ResidentBytes(), 8 * 4096);
  (*arena)->Discard(3);
  EXPECT_EQ((*arena)->ResidentBytes(), 7 * 4096);
  EXPECT_EQ((*arena)->base()[3 * 16384 + 5000], 0);
}

TEST(KvArenaTest, DiscardLeavesNeighboursAlone) {
  auto arena = KvArena::Create(16, 5000, false);
  ASSERT_TRUE(arena.ok());
  std::fill_n((*arena)->base(), 16 * 5000, 'x');
  (*arena)->Discard(2);
  for (int i = 0; i < 16 * 5000; ++i) {
    if (i / 5000 == 2) continue;
    ASSERT_EQ((*arena)->base()[i], 'x') << i;
  }
}

TEST(KvArenaTest, RefusesNonsense) {
  EXPECT_FALSE(KvArena::Create(0, 4096, false).ok());
  EXPECT_FALSE(KvArena::Create(int64_t{1} << 40, int64_t{1} << 40, false).ok());
  EXPECT_EQ(KvArena::Create(int64_t{1} << 40, 1 << 20, false).status().code(), absl::StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace precis::runtime
