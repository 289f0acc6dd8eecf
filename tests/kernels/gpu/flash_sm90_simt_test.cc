// The Hopper attention kernel through the SIMT build: the gate against the fp64 oracle, pages full of NaN around what is written, ragged batches, prefixes,
// chunks, other company; several orders of execution.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#define PRECIS_GPU_NS simt
#include "kernels/cuda/attention_sm90/flash_sm90.h"
#undef PRECIS_GPU_NS
#include "tests/kernels/gpu/gpu_attention_fixture.h"

namespace precis::kernels {
namespace {

const GpuKernel& FlashSm90() {
  static const GpuKernel kernel = {"flash_sm90", simt::FlashPrefillSm90, [](const GpuAttentionArgs&) { return int64_t{0}; }};
  return kernel;
}

// With the workspace that lets it leave tiles out.
const GpuKernel& FlashSm90WithReach() {
  static const GpuKernel kernel = {"flash_sm90 with reach", simt::FlashPrefillSm90, [](const GpuAttentionArgs& a) {
    return simt::FlashPrefillSm90WorkspaceBytes(a.cache.heads, a.cache.head_dim, a.sequences.count, a.sequences.max_query, a.sequences.max_context,
                                                a.alibi_slopes != nullptr);
  }};
  return kernel;
}

struct Shape {
  std::vector<int> queries;
  std::vector<int> contexts;
  float spread = 1.0f;
};

// The rows of each sequence, of its own random data.
std::vector<GpuSequenceData> MakeData(const Shape& shape, const GpuCase& c, uint64_t seed) {
  std::vector<GpuSequenceData> data;
  data.reserve(shape.contexts.size());
  for (size_t i = 0; i < shape.contexts.size(); ++i) {
    data.emplace_back(shape.contexts[i], c.heads, c.head_dim, c.type, seed + i, shape.spread);
  }
  return data;
}

std::vector<GpuPiece> MakePieces(const Shape& shape, const std::vector<GpuSequenceData>& data) {
  std::vector<GpuPiece> pieces;
  for (size_t i = 0; i < data.size(); ++i) pieces.push_back({&data[i], shape.contexts[i], shape.queries[i]});
  return pieces;
}

void Check(const Shape& shape, int heads = 2) {
  for (const bool alibi : {false, true}) {
    GpuCase c;
    c.heads = heads;
    c.alibi = alibi;
    SCOPED_TRACE(alibi ? "alibi" : "learned");
    const std::vector<GpuSequenceData> data = MakeData(shape, c, 11);
    ExpectGate(FlashSm90(), c, MakePieces(shape, data));
  }
}

TEST(FlashSm90, AroundTheTile) {
  for (const int length : {1, 2, 16, 17, 63, 64, 65, 127, 128, 129}) {
    SCOPED_TRACE(length);
    Check({{length}, {length}}, 1);
  }
}

TEST(FlashSm90, SeveralBlocksAndTiles) { Check({{391}, {391}}, 1); }

TEST(FlashSm90, RowsAfterAPrefix) {
  for (const int queries : {1, 64, 100, 193}) {
    SCOPED_TRACE(queries);
    Check({{queries}, {queries + 140}}, 1);
  }
}

TEST(FlashSm90, RaggedBatch) { Check({{70, 1, 200, 17, 0, 130}, {70, 150, 200, 290, 33, 131}}); }

TEST(FlashSm90, SharpDistributions) { Check({{150, 40}, {150, 200}, 4.0f}, 1); }

TEST(FlashSm90, MoreThanAWarpOfSequences) {
  Shape shape;
  for (int i = 0; i < 35; ++i) {
    shape.queries.push_back(1 + i % 3);
    shape.contexts.push_back(5 + 4 * i);
  }
  Check(shape, 1);
}

TEST(FlashSm90, RealSlopesOf12Heads) {
  GpuCase c;
  c.heads = 12;
  c.alibi = true;
  const Shape shape = {{140}, {300}};
  const std::vector<GpuSequenceData> data = MakeData(shape, c, 3);
  ExpectGate(FlashSm90(), c, MakePieces(shape, data));
}

TEST(FlashSm90, NoWork) {
  GpuCase c;
  const Shape shape = {{0, 0}, {20, 5}};
  const std::vector<GpuSequenceData> data = MakeData(shape, c, 3);
  RunPieces(FlashSm90(), c, MakePieces(shape, data));
}

// A row's bits don't depend on the batch, the chunk it came in, or where its pages lie.
TEST(FlashSm90, SameBitsInAnyCompany) {
  for (const bool alibi : {false, true}) {
    GpuCase c;
    c.alibi = alibi;
    const GpuSequenceData data(300, c.heads, c.head_dim, c.type, 5), other(200, c.heads, c.head_dim, c.type, 6);
    const std::vector<float> whole = RunPieces(FlashSm90(), c, {{&data, 300, 300}}).rows[0];
    c.page_seed = 9;
    const GpuResult among = RunPieces(FlashSm90(), c, {{&other, 200, 60}, {&data, 300, 300}, {&other, 130, 130}});
    EXPECT_EQ(among.rows[1], whole);
    std::vector<float> chunked;
    for (const int end : {37, 130, 300}) {
      const int begin = end == 37 ? 0 : end == 130 ? 37 : 130;
      const std::vector<float> part = RunPieces(FlashSm90(), c, {{&data, end, end - begin}}).rows[0];
      chunked.insert(chunked.end(), part.begin(), part.end());
    }
    EXPECT_EQ(chunked, whole);
  }
}

// Steep heads leave far tiles out: their values, NaN here, are not touched, and the row's bits are those of all tiles.
TEST(FlashSm90, TilesOutOfAlibisReach) {
  GpuCase c;
  c.alibi = true;
  c.slopes = {0.5f, 0.25f};
  GpuSequenceData data(2100, c.heads, c.head_dim, c.type, 4);
  const std::vector<float> whole = RunPieces(FlashSm90(), c, {{&data, 2100, 70}}).rows[0];
  std::fill_n(data.values.begin(), size_t{100} * c.heads * c.head_dim, std::numeric_limits<float>::quiet_NaN());
  EXPECT_TRUE(std::isnan(RunPieces(FlashSm90(), c, {{&data, 2100, 70}}).rows[0][0]));
  EXPECT_EQ(RunPieces(FlashSm90WithReach(), c, {{&data, 2100, 70}}).rows[0], whole);
}

TEST(FlashSm90, ReachInARaggedBatch) {
  GpuCase c;
  c.alibi = true;
  c.slopes = {0.5f, 0.01f};
  const Shape shape = {{130, 30, 1}, {2100, 30, 700}};
  const std::vector<GpuSequenceData> data = MakeData(shape, c, 8);
  ExpectGate(FlashSm90WithReach(), c, MakePieces(shape, data));
  const GpuResult all = RunPieces(FlashSm90(), c, MakePieces(shape, data)), some = RunPieces(FlashSm90WithReach(), c, MakePieces(shape, data));
  EXPECT_EQ(some.rows, all.rows);
  EXPECT_EQ(some.log_sum_exp, all.log_sum_exp);
}

// Long keys and queries reach everything; so does a key that is not a number.
TEST(FlashSm90, ReachFollowsTheNorms) {
  GpuCase c;
  c.heads = 1;
  c.alibi = true;
  c.slopes = {0.5f};
  GpuSequenceData data(2100, c.heads, c.head_dim, c.type, 4);
  data.keys[0] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_TRUE(std::isnan(RunPieces(FlashSm90WithReach(), c, {{&data, 2100, 20}}).rows[0][0]));
  const Shape shape = {{40}, {2100}, 4.0f};
  const std::vector<GpuSequenceData> sharp = MakeData(shape, c, 9);
  ExpectGate(FlashSm90WithReach(), c, MakePieces(shape, sharp));
}

}  // namespace
}  // namespace precis::kernels
