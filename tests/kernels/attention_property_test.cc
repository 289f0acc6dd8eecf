// Bits of a row depend on nothing but its own query, keys and values; scratch is as small as promised.
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "gtest/gtest.h"
#include "tests/kernels/attention_fixture.h"

namespace precis::kernels {
namespace {

bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

class AttentionBits : public testing::TestWithParam<AttentionCase> {
 protected:
  AttentionCase case_ = GetParam();
};

TEST_P(AttentionBits, RunToRunThreadsAndPages) {
  const SequenceData data(333, 2, 64, 1);
  const Piece piece = {&data, 333, 333};
  const std::vector<float> first = RunPieces(case_, {piece})[0];
  EXPECT_TRUE(SameBits(first, RunPieces(case_, {piece})[0]));
  for (int threads : {1, 3, 4}) {
    case_.threads = threads;
    case_.page_seed = 100 + threads;
    EXPECT_TRUE(SameBits(first, RunPieces(case_, {piece})[0])) << threads;
  }
}

// The whole prompt at once, in chunks of any size, and token by token.
TEST_P(AttentionBits, PrefillChunksAndDecode) {
  for (int head_dim : {64, 20}) {
    case_.head_dim = head_dim;
    const SequenceData data(300, 2, head_dim, 2);
    const std::vector<float> whole = RunPieces(case_, {{&data, 300, 300}})[0];
    std::mt19937_64 random(3);
    for (int most : {1, 2, 5, 16, 50, 129}) {
      std::vector<float> joined;
      for (int done = 0; done < 300;) {
        const int size = std::min<int>(300 - done, most == 1 ? 1 : 1 + random() % most);
        done += size;
        const std::vector<float> part = RunPieces(case_, {{&data, done, size}})[0];
        joined.insert(joined.end(), part.begin(), part.end());
      }
      EXPECT_TRUE(SameBits(whole, joined)) << "chunks of at most " << most << ", head_dim " << head_dim;
    }
  }
}

// Alone, with 7 and with 63 others, in any order.
TEST_P(AttentionBits, BatchComposition) {
  std::mt19937_64 random(4);
  std::vector<SequenceData> data;
  for (int i = 0; i < 64; ++i) data.emplace_back(1 + random() % 180, 2, 64, 1000 + i);
  std::vector<std::vector<float>> alone;
  std::vector<Piece> pieces;
  for (const SequenceData& d : data) {
    pieces.push_back({&d, d.tokens, random() % 2 ? 1 : static_cast<int>(1 + random() % d.tokens)});
    alone.push_back(RunPieces(case_, {pieces.back()})[0]);
  }
  for (size_t size : {8, 64}) {
    std::vector<size_t> order(64);
    for (size_t i = 0; i < 64; ++i) order[i] = i;
    std::shuffle(order.begin(), order.end(), random);
    order.resize(size);
    std::vector<Piece> batch;
    for (size_t i : order) batch.push_back(pieces[i]);
    case_.page_seed = size;
    const auto out = RunPieces(case_, batch);
    for (size_t i = 0; i < size; ++i) EXPECT_TRUE(SameBits(alone[order[i]], out[i])) << "batch of " << size;
  }
}

// What a row may not see must not touch it, be it NaN or infinite: later tokens of its own chunk too.
TEST_P(AttentionBits, LaterTokensDontLeak) {
  const SequenceData data(150, 2, 64, 5);
  SequenceData poisoned = data;
  const size_t first = size_t{140} * 2 * 64;
  for (size_t i = first; i < data.keys.size(); ++i) {
    poisoned.query[i] = poisoned.keys[i] = NAN;
    poisoned.values[i] = i % 2 ? NAN : std::numeric_limits<float>::infinity();
  }
  std::vector<float> clean = RunPieces(case_, {{&data, 150, 150}})[0];
  std::vector<float> out = RunPieces(case_, {{&poisoned, 150, 150}})[0];
  clean.resize(first);
  out.resize(first);
  EXPECT_TRUE(SameBits(clean, out));
}

TEST_P(AttentionBits, WorkspaceLimit) {
  const SequenceData data(260, 2, 64, 6);
  const Piece piece = {&data, 260, 260};
  const std::vector<float> whole = RunPieces(case_, {piece})[0];
  for (int64_t limit : {int64_t{0}, int64_t{50000}, int64_t{400000}, int64_t{1} << 20}) {
    case_.limit_bytes = limit;
    EXPECT_TRUE(SameBits(whole, RunPieces(case_, {piece})[0])) << limit;
  }
}

INSTANTIATE_TEST_SUITE_P(All, AttentionBits, testing::ValuesIn(AllCases()),
                         [](const auto& info) { return CaseName(info.param); });

TEST(Workspace, TiledDoesNotGrowWithLength) {
  const AttentionSequence small = {0, 1, 1, nullptr}, large = {0, 16384, 16384, nullptr};
  for (std::string_view name : {"flash", "flash_alibi"}) {
    const AttentionVariant& flash = *FindAttentionVariant(name);
    EXPECT_EQ(AttentionWorkspaceBytes(flash, 12, 64, {small}, 2, 1 << 20),
              AttentionWorkspaceBytes(flash, 12, 64, {large}, 2, 1 << 20));
    EXPECT_LE(AttentionWorkspaceBytes(flash, 12, 64, {large}, 1, 0), 64 << 10);
  }
}

TEST(Workspace, MaterialisedHoldsTheScoresOrTheLimit) {
  const AttentionVariant& standard = *FindAttentionVariant("standard");
  const AttentionSequence sequence = {0, 1024, 1024, nullptr};
  const int64_t scores = int64_t{12} * 1024 * 1024 * 4;
  const int64_t tile = AttentionWorkspaceBytes(*FindAttentionVariant("flash"), 12, 64, {sequence}, 2, 0);
  const int64_t whole = AttentionWorkspaceBytes(standard, 12, 64, {sequence}, 2, int64_t{1} << 30);
  EXPECT_GE(whole, scores);
  EXPECT_LE(whole, scores + scores / 100 + tile);
  EXPECT_LE(AttentionWorkspaceBytes(standard, 12, 64, {sequence}, 2, 8 << 20), 8 << 20);
  // One row always fits.
  EXPECT_GE(AttentionWorkspaceBytes(standard, 12, 64, {sequence}, 2, 0), 12 * 1024 * 4);
}

}  // namespace
}  // namespace precis::kernels
