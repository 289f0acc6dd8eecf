#include "tests/kernels/attention_fixture.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <random>

#include "gtest/gtest.h"
#include "tests/kernels/isas.h"
#include "tests/oracle/oracle.h"

namespace precis::kernels {
namespace {

constexpr int kGuard = 64;  // floats around what may be written
constexpr float kCanary = 12345.5f;

std::vector<float> RandomFloats(size_t count, std::mt19937_64& random, float spread) {
  std::normal_distribution<float> normal(0.0f, spread);
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

// Pages of all pieces in one pool, each full of NaN until written.
class Pool {
 public:
  Pool(const AttentionCase& c, int pages) : page_bytes_(KvPageBytes(c.dtype, c.heads, c.head_dim)) {
    // A page holds keys, then values, then a gap that must stay as it is.
    stride_ = 2 * page_bytes_ + 64;
    memory_.assign(static_cast<size_t>(stride_) * pages + 64, '\xff');
    order_.resize(pages);
    std::iota(order_.begin(), order_.end(), 0);
    std::mt19937_64 random(c.page_seed);
    std::shuffle(order_.begin(), order_.end(), random);
  }

  KvLayerView View(const AttentionCase& c) {
    char* base = memory_.data() + (64 - reinterpret_cast<uintptr_t>(memory_.data()) % 64) % 64;
    return {base, base + page_bytes_, stride_, c.dtype, c.heads, c.head_dim};
  }

  int32_t Take() {
    const int32_t page = order_.back();
    order_.pop_back();
    return page;
  }

 private:
  int64_t page_bytes_;
  int64_t stride_;
  std::vector<char> memory_;
  std::vector<int32_t> order_;
};

int PagesOf(int tokens) { return (tokens + kPageTokens - 1) / kPageTokens; }

std::vector<int32_t> WritePiece(const AttentionCase& c, const Piece& piece, Pool& pool, const KvLayerView& view,
                                ThreadPool& threads) {
  std::vector<int32_t> table;
  for (int p = 0; p < PagesOf(piece.context); ++p) table.push_back(pool.Take());
  std::vector<int64_t> slots;
  for (int t = 0; t < piece.context; ++t) {
    slots.push_back(int64_t{table[t / kPageTokens]} * kPageTokens + t % kPageTokens);
  }
  const int64_t stride = int64_t{c.heads} * c.head_dim;
  WriteKv(view, piece.data->keys.data(), piece.data->values.data(), stride, slots, c.isa, threads);
  return table;
}

char* Align(std::vector<char>& bytes) {
  return bytes.data() + (64 - reinterpret_cast<uintptr_t>(bytes.data()) % 64) % 64;
}

}  // namespace

SequenceData::SequenceData(int tokens, int heads, int head_dim, uint64_t seed, float spread) : tokens(tokens) {
  std::mt19937_64 random(seed);
  const size_t count = static_cast<size_t>(tokens) * heads * head_dim;
  query = RandomFloats(count, random, spread);
  keys = RandomFloats(count, random, spread);
  values = RandomFloats(count, random, 1.0f);
}

std::vector<std::vector<float>> RunPieces(const AttentionCase& c, const std::vector<Piece>& pieces) {
  ThreadPool threads(c.threads);
  int pages = 1, rows = 0;
  for (const Piece& piece : pieces) {
    pages += PagesOf(piece.context);
    rows += piece.queries;
  }
  Pool pool(c, pages);
  const KvLayerView view = pool.View(c);
  const int64_t width = int64_t{c.heads} * c.head_dim;
  const int64_t stride = width + c.row_padding;
  std::vector<float> query(rows * stride + 1, NAN);
  std::vector<float> output(rows * stride + 2 * kGuard, NAN);
  std::fill(output.begin(), output.begin() + kGuard, kCanary);
  std::fill(output.end() - kGuard, output.end(), kCanary);
  std::vector<std::vector<int32_t>> tables;
  std::vector<AttentionSequence> sequences;
  int row = 0;
  for (const Piece& piece : pieces) {
    tables.push_back(WritePiece(c, piece, pool, view, threads));
    sequences.push_back({row, piece.queries, piece.context, tables.back().data()});
    for (int i = 0; i < piece.queries; ++i, ++row) {
      std::copy_n(piece.data->query.data() + (piece.context - piece.queries + i) * width, width,
                  query.data() + row * stride);
    }
  }
  for (size_t i = 0; i < tables.size(); ++i) sequences[i].block_table = tables[i].data();

  const AttentionVariant& variant = *FindAttentionVariant(c.variant);
  const int64_t bytes = AttentionWorkspaceBytes(variant, c.heads, c.head_dim, sequences, c.threads, c.limit_bytes);
  std::vector<char> workspace(bytes + 64 + 256, '\xff');
  char* base = Align(workspace);
  std::memset(base + bytes, 0x5a, 192);

  std::vector<float> slopes;
  if (variant.positions == Positions::kAlibi) slopes = AlibiSlopes(c.heads);
  AttentionArgs args;
  args.query = query.data();
  args.query_stride = stride;
  args.output = output.data() + kGuard;
  args.output_stride = stride;
  args.cache = view;
  args.sequences = sequences;
  args.scale = 1.0f / std::sqrt(static_cast<float>(c.head_dim));
  args.alibi_slopes = slopes;
  args.workspace = base;
  args.workspace_bytes = bytes;
  RunAttention(variant, args, c.isa, threads);

  for (int i = 0; i < 192; ++i) EXPECT_EQ(base[bytes + i], 0x5a) << "written past the workspace";
  for (int i = 0; i < kGuard; ++i) {
    EXPECT_EQ(output[i], kCanary);
    EXPECT_EQ(output[output.size() - 1 - i], kCanary);
  }
  std::vector<std::vector<float>> results;
  row = 0;
  for (const Piece& piece : pieces) {
    std::vector<float>& result = results.emplace_back();
    for (int i = 0; i < piece.queries; ++i, ++row) {
      const float* begin = output.data() + kGuard + row * stride;
      result.insert(result.end(), begin, begin + width);
      for (int64_t gap = width; gap < stride; ++gap) EXPECT_TRUE(std::isnan(begin[gap])) << "written between rows";
    }
  }
  return results;
}

std::vector<double> Reference(const AttentionCase& c, const Piece& piece) {
  const bool alibi = FindAttentionVariant(c.variant)->positions == Positions::kAlibi;
  const std::vector<float> slopes = AlibiSlopes(c.heads);
  std::vector<double> result(static_cast<size_t>(piece.queries) * c.heads * c.head_dim);
  const auto round = [&](float x) { return c.dtype == DType::kBf16 ? oracle::RoundToBf16(x) : x; };
  for (int head = 0; head < c.heads; ++head) {
    std::vector<double> q, k, v;
    const auto at = [&](int token, int d) {
      return (static_cast<size_t>(token) * c.heads + head) * c.head_dim + d;
    };
    for (int t = 0; t < piece.context; ++t) {
      for (int d = 0; d < c.head_dim; ++d) {
        if (t >= piece.context - piece.queries) q.push_back(piece.data->query[at(t, d)]);
        k.push_back(round(piece.data->keys[at(t, d)]));
        v.push_back(round(piece.data->values[at(t, d)]));
      }
    }
    const std::vector<double> out =
        oracle::Attention(q, k, v, piece.queries, piece.context, c.head_dim,
                          1.0 / std::sqrt(static_cast<double>(c.head_dim)), alibi ? slopes[head] : 0.0);
    for (int i = 0; i < piece.queries; ++i) {
      for (int d = 0; d < c.head_dim; ++d) result[at(i, d)] = out[i * c.head_dim + d];
    }
  }
  return result;
}

double Error(const std::vector<float>& out, const std::vector<double>& reference, const SequenceData& data) {
  EXPECT_EQ(out.size(), reference.size());
  double worst = 0, largest = 0;
  for (float value : data.values) largest = std::max<double>(largest, std::abs(value));
  for (size_t i = 0; i < out.size(); ++i) {
    if (!std::isfinite(out[i])) return INFINITY;
    worst = std::max(worst, std::abs(out[i] - reference[i]));
  }
  return worst / largest;
}

std::vector<AttentionCase> AllCases() {
  std::vector<AttentionCase> cases;
  for (const AttentionVariant& variant : AttentionVariants()) {
    for (CpuIsa isa : TestedIsas()) {
      for (DType dtype : {DType::kF32, DType::kBf16}) {
        AttentionCase& c = cases.emplace_back();
        c.variant = variant.name;
        c.isa = isa;
        c.dtype = dtype;
      }
    }
  }
  return cases;
}

std::string CaseName(const AttentionCase& c) {
  return std::string(c.variant) + "_" + std::string(CpuIsaName(c.isa)) + "_" + std::string(DTypeName(c.dtype));
}

}  // namespace precis::kernels
