// The gate for half precision: a bf16 cache against PyTorch's math attention in bf16 (tests/golden/make_attention_golden.py) and the fp64
// oracle. With ref from the oracle, std from PyTorch and round() to bf16 and back:
//
//   max|out - ref| <= 2 max|std - ref| + 2 max|round(ref) - ref|,   mean|out - ref| <= 1.5 mean|std - ref|
//
// where out is what the kernel gives, rounded to bf16 as std is.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>

#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/kernels/attention_fixture.h"
#include "tests/kernels/isas.h"
#include "tests/oracle/oracle.h"
#include "tests/runtime/model/synthetic_model.h"

namespace precis::kernels {
namespace {

constexpr int kHeadDim = 64;

std::string ReadFile(const std::string& name) {
  std::ifstream stream(std::string(PRECIS_SOURCE_DIR) + "/tests/golden/attention/" + name, std::ios::binary);
  EXPECT_TRUE(stream) << name;
  return {std::istreambuf_iterator<char>(stream), {}};
}

struct Golden {
  nlohmann::json cases = nlohmann::json::parse(ReadFile("attention.json"))["cases"];
  std::string bytes = ReadFile("attention.bf16");

  double Value(size_t offset, size_t index) const {
    uint16_t bits = 0;
    std::memcpy(&bits, bytes.data() + offset + 2 * index, 2);
    const uint32_t wide = uint32_t{bits} << 16;
    float value = 0;
    std::memcpy(&value, &wide, 4);
    return value;
  }
};

const Golden& TheGolden() {
  static const Golden* const golden = new Golden();
  return *golden;
}

void Fill(const std::string& name, float scale, std::vector<float>* out) {
  for (size_t i = 0; i < out->size(); ++i) {
    const uint64_t h = test::SyntheticHash(name, i);
    (*out)[i] = static_cast<float>(static_cast<int>(h >> 57) + static_cast<int>(h >> 40 & 127) - 127) * scale / 64;
  }
}

SequenceData InputsOf(const nlohmann::json& c) {
  const std::string name = c["name"];
  SequenceData data(c["length"], c["heads"], kHeadDim, 0);
  Fill(name + ".query", 4, &data.query);
  Fill(name + ".keys", 1, &data.keys);
  Fill(name + ".values", 1, &data.values);
  return data;
}

struct Errors {
  double worst = 0, sum = 0;
  void Add(double error) {
    worst = std::max(worst, std::abs(error));
    sum += std::abs(error);
  }
};

// The kept rows, each as the last row of the prompt that ends with it. Made once for all variants with these positions.
const std::vector<double>& ReferenceRows(const AttentionCase& c, const SequenceData& data, const std::vector<int>& rows, int64_t offset) {
  static auto* const made = new std::map<int64_t, std::vector<double>>();
  std::vector<double>& result = (*made)[offset];
  if (!result.empty()) return result;
  for (const int row : rows) {
    const std::vector<double> one = Reference(c, {&data, row + 1, 1});
    result.insert(result.end(), one.begin(), one.end());
  }
  return result;
}

// As one prompt, or row by row as decode does.
std::vector<float> RunRows(const AttentionCase& c, const SequenceData& data, const std::vector<int>& rows, bool decode) {
  std::vector<float> result;
  const size_t width = static_cast<size_t>(c.heads) * c.head_dim;
  if (!decode) {
    const std::vector<float> all = RunPieces(c, {{&data, data.tokens, data.tokens}})[0];
    for (const int row : rows) result.insert(result.end(), all.begin() + row * width, all.begin() + (row + 1) * width);
    return result;
  }
  std::vector<Piece> pieces;
  for (const int row : rows) pieces.push_back({&data, row + 1, 1});
  for (const auto& one : RunPieces(c, pieces)) result.insert(result.end(), one.begin(), one.end());
  return result;
}

void CheckGate(const std::vector<float>& out, const std::vector<double>& reference, const nlohmann::json& c) {
  ASSERT_EQ(out.size(), reference.size());
  Errors ours, theirs, rounding;
  for (size_t i = 0; i < out.size(); ++i) {
    ASSERT_TRUE(std::isfinite(out[i])) << i;
    ours.Add(oracle::RoundToBf16(out[i]) - reference[i]);
    theirs.Add(TheGolden().Value(c["offset"], i) - reference[i]);
    rounding.Add(oracle::RoundToBf16(static_cast<float>(reference[i])) - reference[i]);
  }
  EXPECT_LE(ours.worst, 2 * theirs.worst + 2 * rounding.worst);
  EXPECT_LE(ours.sum, 1.5 * theirs.sum);
  // That both are about the same thing: a yardstick that is far off would let everything pass.
  EXPECT_LE(theirs.worst, 0.02);
}

class AttentionGateTest : public testing::TestWithParam<AttentionCase> {};

TEST_P(AttentionGateTest, WithinTheErrorOfPyTorch) {
  AttentionCase c = GetParam();
  c.dtype = DType::kBf16;
  const bool alibi = FindAttentionVariant(c.variant)->positions == Positions::kAlibi;
  int checked = 0;
  for (const nlohmann::json& golden : TheGolden().cases) {
    if (golden["alibi"] != alibi) continue;
    SCOPED_TRACE(golden.dump());
    c.heads = golden["heads"];
    const SequenceData data = InputsOf(golden);
    const std::vector<int> rows = golden["rows"];
    const std::vector<double>& reference = ReferenceRows(c, data, rows, golden["offset"]);
    CheckGate(RunRows(c, data, rows, /*decode=*/false), reference, golden);
    CheckGate(RunRows(c, data, rows, /*decode=*/true), reference, golden);
    ++checked;
  }
  EXPECT_EQ(checked, 50);
}

std::vector<AttentionCase> Bf16Cases() {
  std::vector<AttentionCase> cases;
  for (const AttentionCase& c : AllCases()) {
    if (c.dtype == DType::kBf16) cases.push_back(c);
  }
  return cases;
}

INSTANTIATE_TEST_SUITE_P(All, AttentionGateTest, testing::ValuesIn(Bf16Cases()),
                         [](const auto& info) { return CaseName(info.param); });

}  // namespace
}  // namespace precis::kernels
