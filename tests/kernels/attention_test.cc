// Every variant, instruction set and cache type against the fp64 oracle.
#include <cmath>

#include "gtest/gtest.h"
#include "tests/kernels/attention_fixture.h"
#include "tests/kernels/isas.h"

namespace precis::kernels {
namespace {

// Relative to the largest value. The cache's rounding is in the oracle too, so bf16 has the same bound: far inside the gate for half
// precision (twice the error of a plain implementation in bf16, about 1e-2).
constexpr double kTolerance = 4e-6;

class AttentionTest : public testing::TestWithParam<AttentionCase> {
 protected:
  void Check(int context, int queries, uint64_t seed, float spread = 1.0f, double tolerance = kTolerance) {
    const SequenceData data(context, case_.heads, case_.head_dim, seed, spread);
    const Piece piece = {&data, context, queries};
    const auto out = RunPieces(case_, {piece});
    EXPECT_LT(Error(out[0], Reference(case_, piece), data), tolerance)
        << "context " << context << ", queries " << queries << ", heads " << case_.heads << ", head_dim "
        << case_.head_dim;
  }

  AttentionCase case_ = GetParam();
};

TEST_P(AttentionTest, WholePrompts) {
  for (int length : {1, 2, 15, 16, 17, 31, 33, 47, 48, 49, 127, 128, 129, 255, 256, 257}) Check(length, length, length);
}

TEST_P(AttentionTest, LongPrompts) {
  case_.heads = 1;
  for (int length : {1023, 1024, 1500}) Check(length, length, length);
}

TEST_P(AttentionTest, QueriesShorterThanKeys) {
  for (int context : {2, 17, 128, 129, 300, 1024, 1025, 1500}) {
    for (int queries : {1, 2, 3, 5, 6, 7, 13, 50}) {
      if (queries < context) Check(context, queries, context * 100 + queries);
    }
  }
}

TEST_P(AttentionTest, Heads) {
  for (int heads : {1, 3, 12, 16, 20, 25}) {
    case_.heads = heads;
    Check(70, 70, heads);
    Check(140, 1, heads);
  }
}

TEST_P(AttentionTest, HeadDims) {
  for (int head_dim : {2, 6, 8, 10, 32, 48, 64, 80, 96, 100, 128, 160, 256}) {
    case_.head_dim = head_dim;
    Check(67, 67, head_dim);
    Check(150, 7, head_dim);
    Check(150, 1, head_dim);
  }
}

// Scores spread so wide (to 150 and more) that one key takes nearly all the weight, and the running maximum moves. A float of that size is
// 8e-6 from the next, and so are the weights.
TEST_P(AttentionTest, WideScores) {
  Check(400, 400, 7, 6.0f, 3e-5);
  Check(400, 1, 8, 6.0f, 3e-5);
}

TEST_P(AttentionTest, RowsWithGaps) {
  case_.row_padding = 24;
  Check(60, 60, 3);
}

TEST_P(AttentionTest, RaggedBatch) {
  std::vector<SequenceData> data;
  for (int length : {1, 16, 200, 33, 129, 64}) data.emplace_back(length, case_.heads, case_.head_dim, length);
  const std::vector<Piece> pieces = {{&data[0], 1, 1},   {&data[1], 16, 16}, {&data[2], 200, 1},
                                     {&data[3], 33, 10}, {&data[4], 129, 129}, {&data[5], 64, 2}};
  const auto out = RunPieces(case_, pieces);
  for (size_t i = 0; i < pieces.size(); ++i) {
    EXPECT_LT(Error(out[i], Reference(case_, pieces[i]), *pieces[i].data), kTolerance) << i;
  }
}

TEST_P(AttentionTest, EmptyBatch) { EXPECT_TRUE(RunPieces(case_, {}).empty()); }

TEST_P(AttentionTest, SequenceWithoutQueries) {
  const SequenceData data(40, case_.heads, case_.head_dim, 5);
  const auto out = RunPieces(case_, {{&data, 40, 0}, {&data, 40, 3}});
  EXPECT_TRUE(out[0].empty());
  EXPECT_LT(Error(out[1], Reference(case_, {&data, 40, 3}), data), kTolerance);
}

INSTANTIATE_TEST_SUITE_P(All, AttentionTest, testing::ValuesIn(AllCases()),
                         [](const auto& info) { return CaseName(info.param); });

// At 16k tokens the bias of the first key is slope * 16384 = 8192 and more; what is near the diagonal must stay exact.
TEST(Alibi, LongContext) {
  for (CpuIsa isa : TestedIsas()) {
    for (std::string_view variant : {"flash_alibi", "standard_alibi"}) {
      AttentionCase c;
      c.variant = variant;
      c.isa = isa;
      c.heads = 12;
      c.head_dim = 16;
      const SequenceData data(16400, c.heads, c.head_dim, 11);
      const Piece piece = {&data, 16400, 5};
      EXPECT_LT(Error(RunPieces(c, {piece})[0], Reference(c, piece), data), kTolerance) << CaseName(c);
    }
  }
}

// The two algorithms share positions and weights: they agree to rounding.
TEST(Algorithms, StandardAgreesWithFlash) {
  for (CpuIsa isa : TestedIsas()) {
    const SequenceData data(600, 4, 64, 21);
    const Piece piece = {&data, 600, 600};
    for (const auto& [a, b] : {std::pair("standard", "flash"), std::pair("standard_alibi", "flash_alibi")}) {
      AttentionCase c;
      c.isa = isa;
      c.heads = 4;
      c.variant = a;
      const std::vector<float> first = RunPieces(c, {piece})[0];
      c.variant = b;
      const std::vector<float> second = RunPieces(c, {piece})[0];
      EXPECT_LT(Error(first, std::vector<double>(second.begin(), second.end()), data), 2e-6) << CaseName(c);
    }
  }
}

}  // namespace
}  // namespace precis::kernels
