#include <cmath>
#include <set>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/attention.h"

namespace precis::kernels {
namespace {

TEST(Variants, NamesAreTheFourBackends) {
  EXPECT_EQ(AttentionVariantNames(), "standard, standard_alibi, flash, flash_alibi");
}

TEST(Variants, FindsEachByNameAndNothingElse) {
  for (const AttentionVariant& variant : AttentionVariants()) {
    EXPECT_EQ(FindAttentionVariant(variant.name), &variant);
    EXPECT_FALSE(variant.description.empty());
  }
  for (const char* name : {"", "Flash", "flash ", "flash2", "standard,flash"}) {
    EXPECT_EQ(FindAttentionVariant(name), nullptr) << name;
  }
}

TEST(Variants, AreDistinctCombinations) {
  std::set<std::pair<Algorithm, Positions>> seen;
  for (const AttentionVariant& variant : AttentionVariants()) {
    EXPECT_TRUE(seen.insert({variant.algorithm, variant.positions}).second) << variant.name;
  }
  EXPECT_EQ(FindAttentionVariant("flash")->algorithm, Algorithm::kTiled);
  EXPECT_EQ(FindAttentionVariant("flash")->positions, Positions::kLearned);
  EXPECT_EQ(FindAttentionVariant("standard_alibi")->algorithm, Algorithm::kMaterialised);
  EXPECT_EQ(FindAttentionVariant("standard_alibi")->positions, Positions::kAlibi);
  EXPECT_EQ(AlgorithmName(Algorithm::kTiled), "tiled");
  EXPECT_EQ(AlgorithmName(Algorithm::kMaterialised), "materialised");
  EXPECT_EQ(PositionsName(Positions::kAlibi), "alibi");
  EXPECT_EQ(PositionsName(Positions::kLearned), "learned");
}

std::vector<double> MinusLog2(const std::vector<float>& slopes) {
  std::vector<double> logs;
  for (float slope : slopes) logs.push_back(-std::log2(slope));
  return logs;
}

void ExpectSlopes(int heads, const std::vector<double>& expected) {
  const std::vector<double> logs = MinusLog2(AlibiSlopes(heads));
  ASSERT_EQ(logs.size(), expected.size());
  for (size_t h = 0; h < expected.size(); ++h) EXPECT_NEAR(logs[h], expected[h], 1e-6) << heads << " heads, " << h;
}

// The published rule, as -log2(slope).
TEST(AlibiSlopes, Golden) {
  const std::vector<double> sixteen = {0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5, 5.5, 6, 6.5, 7, 7.5, 8};
  std::vector<double> twenty = sixteen, twenty_five = sixteen;
  for (double x : {0.25, 0.75, 1.25, 1.75}) twenty.push_back(x);
  for (double x = 0.25; x < 4.5; x += 0.5) twenty_five.push_back(x);
  ExpectSlopes(0, {});
  ExpectSlopes(1, {8});
  ExpectSlopes(12, {1, 2, 3, 4, 5, 6, 7, 8, 0.5, 1.5, 2.5, 3.5});
  ExpectSlopes(16, sixteen);
  ExpectSlopes(20, twenty);
  ExpectSlopes(25, twenty_five);
}

TEST(Device, NamesParseBack) {
  for (DType dtype : {DType::kF32, DType::kBf16, DType::kI8}) {
    EXPECT_EQ(*ParseDType(DTypeName(dtype)), dtype);
  }
  for (CpuIsa isa : {CpuIsa::kPortable, CpuIsa::kAvx2, CpuIsa::kAvx512}) {
    EXPECT_EQ(*ParseCpuIsa(CpuIsaName(isa)), isa);
  }
  EXPECT_THAT(std::string(ParseDType("fp8").status().message()),
              testing::AllOf(testing::HasSubstr("fp8"), testing::HasSubstr("f32, bf16, int8")));
  EXPECT_THAT(std::string(ParseCpuIsa("sse").status().message()), testing::HasSubstr("portable, avx2, avx512"));
}

TEST(Device, SupportsPortableFirstAndBestLast) {
  EXPECT_EQ(SupportedCpuIsas().front(), CpuIsa::kPortable);
  EXPECT_EQ(SupportedCpuIsas().back(), BestCpuIsa());
}

}  // namespace
}  // namespace precis::kernels
