// The attention kernels of the GPU, run by the SIMT device, against the fp64 oracle.

#include <gtest/gtest.h>

#include <memory>
#include <tuple>

#include "kernels/attention.h"
#include "tests/kernels/gpu/gpu_attention_fixture.h"
#include "tests/kernels/gpu/simt_attention.h"

namespace precis::kernels {
namespace {

struct Lengths {
  int context, queries;
};

// Owns the data of a batch.
struct Batch {
  Batch(const GpuCase& c, const std::vector<Lengths>& lengths, float spread = 1.0f) {
    for (const Lengths& n : lengths) {
      data.push_back(std::make_unique<GpuSequenceData>(n.context, c.heads, c.head_dim, c.type, 100 + data.size(), spread));
      pieces.push_back({data.back().get(), n.context, n.queries});
    }
  }
  std::vector<std::unique_ptr<GpuSequenceData>> data;
  std::vector<GpuPiece> pieces;
};

// By kernel, type, ALiBi.
class GpuAttentionTest : public testing::TestWithParam<std::tuple<const GpuKernel*, GpuType, bool>> {
 protected:
  const GpuKernel& kernel() const { return *std::get<0>(GetParam()); }
  GpuCase Case(int heads, int head_dim) const {
    GpuCase c;
    c.type = std::get<1>(GetParam());
    c.alibi = std::get<2>(GetParam());
    c.heads = heads;
    c.head_dim = head_dim;
    return c;
  }
  // Cuts every sequence to one row for kernels that take no more.
  std::vector<Lengths> Fit(std::vector<Lengths> lengths) const {
    for (Lengths& n : lengths) n.queries = kernel().is_decode ? std::min(n.queries, 1) : n.queries;
    return lengths;
  }
};

TEST_P(GpuAttentionTest, RaggedBatchPassesTheGate) {
  const GpuCase c = Case(2, 64);
  const Batch batch(c, Fit({{1, 1}, {2, 2}, {15, 15}, {16, 1}, {17, 17}, {63, 63}, {64, 64}, {65, 65}, {40, 0}, {127, 1}, {128, 128}, {129, 129}, {65, 1},
                            {200, 73}, {300, 44}, {255, 2}, {256, 1}, {257, 1}, {513, 3}}));
  ExpectGate(kernel(), c, batch.pieces);
}

TEST_P(GpuAttentionTest, EveryHeadSizePassesTheGate) {
  for (const int head_dim : {32, 80, 96, 128}) {
    SCOPED_TRACE(head_dim);
    const GpuCase c = Case(2, head_dim);
    const Batch batch(c, Fit({{1, 1}, {70, 70}, {33, 2}, {131, 20}, {270, 1}}));
    ExpectGate(kernel(), c, batch.pieces);
  }
}

TEST_P(GpuAttentionTest, SharpDistributionsPassTheGate) {
  const GpuCase c = Case(1, 64);
  const Batch batch(c, Fit({{100, 100}, {300, 30}}), 3.0f);
  ExpectGate(kernel(), c, batch.pieces);
}

TEST_P(GpuAttentionTest, EveryNumberOfHeadsHasItsSlopes) {
  for (const int heads : {12, 16, 20, 25}) {
    SCOPED_TRACE(heads);
    const GpuCase c = Case(heads, 32);
    const Batch batch(c, Fit({{40, 5}, {21, 21}}));
    ExpectGate(kernel(), c, batch.pieces);
  }
}

TEST_P(GpuAttentionTest, LongContextsStayExact) {
  GpuCase c = Case(1, 32);
  c.slopes = {0.7071f};
  const Batch batch(c, Fit({{2100, 3}}));
  ExpectGate(kernel(), c, batch.pieces);
}

TEST_P(GpuAttentionTest, NothingToDo) {
  const GpuCase c = Case(2, 64);
  EXPECT_TRUE(RunPieces(kernel(), c, {}).rows.empty());
  const Batch batch(c, {{40, 0}, {7, 0}});
  const GpuResult result = RunPieces(kernel(), c, batch.pieces);
  EXPECT_TRUE(result.rows[0].empty());
}

std::string Name(const testing::TestParamInfo<GpuAttentionTest::ParamType>& info) {
  return std::get<0>(info.param)->name + (std::get<1>(info.param) == GpuType::kF32 ? "_f32" : "_bf16") + (std::get<2>(info.param) ? "_alibi" : "_learned");
}
INSTANTIATE_TEST_SUITE_P(All, GpuAttentionTest,
                         testing::Combine(testing::ValuesIn(AllKernels()), testing::Values(GpuType::kBf16, GpuType::kF32), testing::Bool()), Name);

// Rows of a sequence must have the same bits in any company. By kernel and ALiBi, in bf16.
class GpuInvarianceTest : public testing::TestWithParam<std::tuple<const GpuKernel*, bool>> {
 protected:
  const GpuKernel& kernel() const { return *std::get<0>(GetParam()); }
  GpuCase Case() const {
    GpuCase c;
    c.alibi = std::get<1>(GetParam());
    return c;
  }
};

TEST_P(GpuInvarianceTest, CompanyOrderAndPagesDoNotMatter) {
  GpuCase c = Case();
  std::vector<Lengths> lengths = {{300, 40}, {129, 129}, {1, 1}, {64, 3}, {520, 1}};
  if (kernel().is_decode) lengths = {{300, 1}, {129, 1}, {1, 1}, {64, 1}, {520, 1}};
  const Batch batch(c, lengths);
  const GpuResult together = RunPieces(kernel(), c, batch.pieces);
  c.page_seed = 77;
  const GpuResult reversed = RunPieces(kernel(), c, {batch.pieces.rbegin(), batch.pieces.rend()});
  for (size_t s = 0; s < batch.pieces.size(); ++s) {
    EXPECT_EQ(together.rows[s], reversed.rows[batch.pieces.size() - 1 - s]);
    EXPECT_EQ(together.rows[s], RunPieces(kernel(), c, {batch.pieces[s]}).rows[0]);
  }
}

class GpuPrefillInvarianceTest : public GpuInvarianceTest {};
TEST_P(GpuPrefillInvarianceTest, ChunksDoNotMatter) {
  const GpuCase c = Case();
  const Batch batch(c, {{210, 210}});
  const std::vector<float> whole = RunPieces(kernel(), c, batch.pieces).rows[0];
  for (const int chunk : {97, 64, 31}) {
    std::vector<float> joined;
    for (int end = 0; end < 210;) {
      const int queries = std::min(chunk, 210 - end);
      end += queries;
      const std::vector<float> rows = RunPieces(kernel(), c, {{batch.pieces[0].data, end, queries}}).rows[0];
      joined.insert(joined.end(), rows.begin(), rows.end());
    }
    EXPECT_EQ(joined, whole) << "chunks of " << chunk;
  }
}

TEST_P(GpuInvarianceTest, OrderOfThreadsDoesNotMatter) {
  const GpuCase c = Case();
  const Batch batch(c, kernel().is_decode ? std::vector<Lengths>{{600, 1}, {33, 1}} : std::vector<Lengths>{{150, 90}, {33, 33}});
  const GpuResult first = RunPieces(kernel(), c, batch.pieces);
  for (const uint64_t seed : {2, 3, 4}) {
    simt::SetSeed(seed);
    EXPECT_EQ(RunPieces(kernel(), c, batch.pieces).rows, first.rows) << "seed " << seed;
  }
  simt::SetSeed(1);
}

std::string InvarianceName(const testing::TestParamInfo<GpuInvarianceTest::ParamType>& info) {
  return std::get<0>(info.param)->name + (std::get<1>(info.param) ? "_alibi" : "_learned");
}
INSTANTIATE_TEST_SUITE_P(All, GpuInvarianceTest, testing::Combine(testing::ValuesIn(AllKernels()), testing::Bool()), InvarianceName);
INSTANTIATE_TEST_SUITE_P(All, GpuPrefillInvarianceTest,
                         testing::Combine(testing::Values(&FlashPrefillKernel(), &StandardPrefillKernel()), testing::Bool()), InvarianceName);

TEST(GpuFlashDecodeTest, BothWaysOfJoiningSplitsGiveTheSameBits) {
  GpuCase c;
  const Batch batch(c, {{700, 1}, {256, 1}, {1030, 1}, {40, 0}});
  const GpuResult counted = RunPieces(FlashDecodeKernel(), c, batch.pieces);
  c.counters = false;
  const GpuResult launched = RunPieces(FlashDecodeKernel(), c, batch.pieces);
  EXPECT_EQ(counted.rows, launched.rows);
  EXPECT_EQ(counted.log_sum_exp, launched.log_sum_exp);
}

TEST(GpuStandardPrefillTest, ChunksOfRowsGiveTheSameBitsAndAreReported) {
  for (const GpuType type : {GpuType::kBf16, GpuType::kF32}) {
    GpuCase c;
    c.type = type;
    const Batch batch(c, {{150, 100}, {70, 70}, {9, 1}});
    const GpuResult whole = RunPieces(StandardPrefillKernel(), c, batch.pieces);
    const int64_t gather = simt::StandardWorkspaceBytes(c.heads, c.head_dim, 100, 150, 0, type);
    const int64_t row = simt::StandardWorkspaceBytes(c.heads, c.head_dim, 100, 150, 1, type) - gather;
    EXPECT_EQ(gather, type == GpuType::kF32 ? 0 : 2 * c.heads * c.head_dim * 150);
    EXPECT_EQ(row, (type == GpuType::kF32 ? 4 : 2) * c.heads * 192);
    for (const int rows : {50, 7}) {
      c.workspace_bytes = gather + rows * row + 5;
      EXPECT_EQ(simt::StandardChunkRows(c.heads, c.head_dim, 100, 150, 171, type, c.workspace_bytes), rows);
      EXPECT_EQ(RunPieces(StandardPrefillKernel(), c, batch.pieces).rows, whole.rows) << rows << " rows at a time";
    }
    EXPECT_EQ(simt::StandardChunkRows(c.heads, c.head_dim, 100, 150, 171, type, gather + 171 * row), 171);
    EXPECT_EQ(simt::StandardChunkRows(c.heads, c.head_dim, 100, 150, 171, type, gather + row - 1), 0);
  }
}

// The library's place is taken by plain loops; gathering, layouts, softmax of whole rows and chunks are the real ones.
TEST(GpuStandardPrefillTest, LibraryProductsPassTheGateInChunksToo) {
  for (const bool alibi : {false, true}) {
    for (const int head_dim : {64, 80}) {
      GpuCase c;
      c.mode = GemmMode::kFast;
      c.alibi = alibi;
      c.head_dim = head_dim;
      const Batch batch(c, {{1, 1}, {17, 0}, {150, 100}, {70, 70}, {129, 1}, {200, 3}});
      ExpectGate(StandardPrefillKernel(), c, batch.pieces);
      const GpuResult whole = RunPieces(StandardPrefillKernel(), c, batch.pieces);
      const int64_t gather = simt::StandardWorkspaceBytes(c.heads, c.head_dim, 100, 200, 0, c.type);
      c.workspace_bytes = gather + 33 * (simt::StandardWorkspaceBytes(c.heads, c.head_dim, 100, 200, 1, c.type) - gather);
      EXPECT_EQ(RunPieces(StandardPrefillKernel(), c, batch.pieces).rows, whole.rows);
    }
  }
}

TEST(GpuWriteKvTest, WritesItsSlotsAndNothingElse) {
  for (const int head_dim : {32, 80, 128}) {
    constexpr int kHeads = 3, kPages = 4, kRows = 9;
    const int width = kHeads * head_dim;
    std::vector<uint16_t> qkv(static_cast<size_t>(kRows) * 3 * width), arena(static_cast<size_t>(kPages) * 2 * width * 16, 0xffff), expected = arena;
    for (size_t i = 0; i < qkv.size(); ++i) qkv[i] = static_cast<uint16_t>(i * 2654435761u >> 7);
    const std::vector<int64_t> slots = {5, -1, 63, 0, 17, 16, -1, 33, 47};
    for (int r = 0; r < kRows; ++r) {
      for (int i = 0; i < width && slots[r] >= 0; ++i) {
        const int64_t page = slots[r] / 16, token = slots[r] % 16, head = i / head_dim;
        const int64_t at = page * 2 * width * 16 + (head * 16 + token) * head_dim + i % head_dim;
        expected[at] = qkv[static_cast<size_t>(r) * 3 * width + width + i];
        expected[at + width * 16] = qkv[static_cast<size_t>(r) * 3 * width + 2 * width + i];
      }
    }
    GpuWriteKvArgs args{};
    args.qkv = qkv.data();
    args.qkv_stride = 3 * width;
    args.slots = slots.data();
    args.cache.keys = reinterpret_cast<char*>(arena.data());
    args.cache.values = args.cache.keys + width * 16 * 2;
    args.cache.page_stride = width * 16 * 2 * 2;
    args.cache.type = GpuType::kBf16;
    args.cache.heads = kHeads;
    args.cache.head_dim = head_dim;
    args.rows = kRows;
    simt::WriteKv(args, Stream{});
    EXPECT_EQ(arena, expected) << "head size " << head_dim;
  }
}

}  // namespace
}  // namespace precis::kernels
