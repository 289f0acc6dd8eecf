#include "tests/kernels/gpu/gpu_attention_fixture.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <numeric>
#include <random>

#include "kernels/attention.h"
#include "tests/kernels/gpu/simt_attention.h"
#include "tests/oracle/oracle.h"

namespace precis::kernels {
namespace {

constexpr int kLayers = 2;  // the layer under test is the second
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

int SizeOf(GpuType type) { return type == GpuType::kF32 ? 4 : 2; }
float Round(GpuType type, float x) { return type == GpuType::kF32 ? x : oracle::RoundToBf16(x); }

// An exact allocation, full of NaN in either type, for AddressSanitizer to watch.
class Buffer {
 public:
  explicit Buffer(int64_t bytes) : bytes_(bytes), data_(static_cast<char*>(::operator new(std::max<int64_t>(bytes, 1), std::align_val_t{256}))) {
    std::memset(data_, 0xff, bytes);
  }
  ~Buffer() { ::operator delete(data_, std::align_val_t{256}); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  char* data() const { return data_; }
  int64_t bytes() const { return bytes_; }

 private:
  int64_t bytes_;
  char* data_;
};

void StoreFloat(char* p, GpuType type, float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  if (type == GpuType::kF32) {
    std::memcpy(p, &bits, 4);
  } else {  // x is a bf16 number
    const uint16_t high = static_cast<uint16_t>(bits >> 16);
    std::memcpy(p, &high, 2);
  }
}
float LoadFloat(const char* p, GpuType type) {
  uint32_t bits = 0;
  if (type == GpuType::kF32) {
    std::memcpy(&bits, p, 4);
  } else {
    uint16_t high;
    std::memcpy(&high, p, 2);
    bits = static_cast<uint32_t>(high) << 16;
  }
  float x;
  std::memcpy(&x, &bits, 4);
  return x;
}

std::vector<float> SlopesOf(const GpuCase& c) { return c.slopes.empty() ? AlibiSlopes(c.heads) : c.slopes; }

// The paged cache of a batch.
struct Cache {
  Cache(const GpuCase& c, const std::vector<GpuPiece>& pieces) {
    const int64_t part = static_cast<int64_t>(c.heads) * 16 * c.head_dim * SizeOf(c.type);
    int used = 0;
    for (const GpuPiece& piece : pieces) {
      table_stride = std::max(table_stride, (piece.context + 15) / 16);
      used += (piece.context + 15) / 16;
    }
    const int pages = used + 3;
    arena = std::make_unique<Buffer>(pages * part * 2 * kLayers);
    std::vector<int32_t> order(pages);
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), std::mt19937_64(c.page_seed));
    table.assign(pieces.size() * table_stride, -1);  // a page that is not there
    int next = 0;
    for (size_t s = 0; s < pieces.size(); ++s) {
      for (int i = 0; i < (pieces[s].context + 15) / 16; ++i) table[s * table_stride + i] = order[next++];
    }
    layer.keys = arena->data() + 2 * part;
    layer.values = arena->data() + 3 * part;
    layer.page_stride = part * 2 * kLayers;
    layer.type = c.type;
    layer.heads = c.heads;
    layer.head_dim = c.head_dim;
    layer.arena = arena->data();
    layer.part_bytes = part;
    layer.pages = pages;
    layer.parts = 2 * kLayers;
    layer.key_part = 2;
  }

  std::unique_ptr<Buffer> arena;
  std::vector<int32_t> table;
  int table_stride = 0;
  GpuKvLayer layer{};
};

void StoreToken(char* row, const GpuCase& c, const GpuSequenceData& data, int token) {
  const int width = c.heads * c.head_dim, size = SizeOf(c.type);
  for (int i = 0; i < width; ++i) {
    const size_t at = static_cast<size_t>(token) * width + i;
    StoreFloat(row + static_cast<int64_t>(i) * size, c.type, data.query[at]);
    StoreFloat(row + static_cast<int64_t>(width + i) * size, c.type, data.keys[at]);
    StoreFloat(row + static_cast<int64_t>(2 * width + i) * size, c.type, data.values[at]);
  }
}

void WriteKeysAndValues(const GpuCase& c, const std::vector<GpuPiece>& pieces, const Cache& cache) {
  const int width = c.heads * c.head_dim, size = SizeOf(c.type);
  int tokens = 0;
  for (const GpuPiece& piece : pieces) tokens += piece.context;
  Buffer qkv(static_cast<int64_t>(tokens) * 3 * width * size);
  std::vector<int64_t> slots;
  for (size_t s = 0; s < pieces.size(); ++s) {
    for (int t = 0; t < pieces[s].context; ++t) {
      StoreToken(qkv.data() + static_cast<int64_t>(slots.size()) * 3 * width * size, c, *pieces[s].data, t);
      slots.push_back(static_cast<int64_t>(cache.table[s * cache.table_stride + t / 16]) * 16 + t % 16);
    }
  }
  simt::WriteKv(GpuWriteKvArgs{qkv.data(), 3 * width, slots.data(), cache.layer, tokens}, Stream{});
}

// What PyTorch's math attention gives in bf16: operands times sqrt(scale), scores, weights and result rounded, sums in f32. The ALiBi bias is added before the scores are rounded.
std::vector<float> MathAttention(const std::vector<double>& q, const std::vector<double>& k, const std::vector<double>& v, int queries, int context,
                                 int head_dim, double scale, double slope) {
  const auto round = [](double x) { return oracle::RoundToBf16(static_cast<float>(x)); };
  const float root = static_cast<float>(std::sqrt(scale));
  std::vector<float> output(static_cast<size_t>(queries) * head_dim);
  for (int i = 0; i < queries; ++i) {
    const int position = context - queries + i;
    std::vector<float> weights(position + 1);
    float largest = -std::numeric_limits<float>::infinity(), sum = 0;
    for (int j = 0; j <= position; ++j) {
      float dot = 0;
      for (int d = 0; d < head_dim; ++d) dot += round(q[i * head_dim + d] * root) * round(k[j * head_dim + d] * root);
      weights[j] = round(dot - slope * (position - j));
      largest = std::max(largest, weights[j]);
    }
    for (float& weight : weights) sum += weight = std::exp(weight - largest);
    for (int d = 0; d < head_dim; ++d) {
      float dot = 0;
      for (int j = 0; j <= position; ++j) dot += round(weights[j] / sum) * static_cast<float>(v[j * head_dim + d]);
      output[i * head_dim + d] = round(dot);
    }
  }
  return output;
}

// Tokens [begin, end) of one head.
std::vector<double> HeadOf(const std::vector<float>& all, int width, int head, int head_dim, int begin, int end) {
  std::vector<double> head_data;
  for (int t = begin; t < end; ++t) {
    for (int d = 0; d < head_dim; ++d) head_data.push_back(all[static_cast<size_t>(t) * width + head * head_dim + d]);
  }
  return head_data;
}

double LogSumExp(const std::vector<double>& q, const std::vector<double>& k, int row, int position, int head_dim, double scale, double slope) {
  double sum = 0;
  for (int j = 0; j <= position; ++j) {
    double dot = 0;
    for (int d = 0; d < head_dim; ++d) dot += q[row * head_dim + d] * k[j * head_dim + d];
    sum += std::exp(dot * scale - slope * (position - j));
  }
  return std::log(sum);
}

}  // namespace

GpuSequenceData::GpuSequenceData(int tokens, int heads, int head_dim, GpuType type, uint64_t seed, float spread) : tokens(tokens) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal;
  for (std::vector<float>* v : {&query, &keys, &values}) {
    v->resize(static_cast<size_t>(tokens) * heads * head_dim);
    for (float& x : *v) x = Round(type, normal(random) * (v == &values ? 1.0f : spread));
  }
}

const GpuKernel& FlashPrefillKernel() {
  static const GpuKernel kernel{"flash_prefill", simt::FlashPrefillSm80, [](const GpuAttentionArgs&) { return 0; }};
  return kernel;
}
const GpuKernel& StandardPrefillKernel() {
  static const GpuKernel kernel{"standard_prefill", simt::StandardPrefill,
                                [](const GpuAttentionArgs& a) {
                                  return simt::StandardWorkspaceBytes(a.cache.heads, a.cache.head_dim, a.sequences.max_query, a.sequences.max_context,
                                                                      a.sequences.total_queries, a.cache.type);
                                },
                                false, true};
  return kernel;
}
const GpuKernel& FlashDecodeKernel() {
  static const GpuKernel kernel{"flash_decode", simt::FlashDecode,
                                [](const GpuAttentionArgs& a) {
                                  return simt::DecodeWorkspaceBytes(a.cache.heads, a.cache.head_dim, a.sequences.count, a.sequences.max_context);
                                },
                                true};
  return kernel;
}
const GpuKernel& StandardDecodeKernel() {
  static const GpuKernel kernel{"standard_decode", simt::StandardDecode,
                                [](const GpuAttentionArgs& a) {
                                  return simt::StandardWorkspaceBytes(a.cache.heads, a.cache.head_dim, 1, a.sequences.max_context, a.sequences.count,
                                                                      a.cache.type);
                                },
                                true, true};
  return kernel;
}
std::vector<const GpuKernel*> AllKernels() {
  return {&FlashPrefillKernel(), &StandardPrefillKernel(), &FlashDecodeKernel(), &StandardDecodeKernel()};
}

GpuResult RunPieces(const GpuKernel& kernel, const GpuCase& c, const std::vector<GpuPiece>& pieces) {
  const int width = c.heads * c.head_dim, size = SizeOf(c.type), count = static_cast<int>(pieces.size());
  const Cache cache(c, pieces);
  WriteKeysAndValues(c, pieces, cache);

  std::vector<int32_t> begin, queries, context;
  int rows = 0;
  GpuAttentionArgs args{};
  for (const GpuPiece& piece : pieces) {
    begin.push_back(++rows);  // one row of nobody's in front
    queries.push_back(piece.queries);
    context.push_back(piece.context);
    rows += piece.queries;
    args.sequences.max_query = std::max(args.sequences.max_query, piece.queries);
    args.sequences.max_context = std::max(args.sequences.max_context, piece.context);
    args.sequences.total_queries += piece.queries;
  }
  ++rows;
  Buffer qkv(static_cast<int64_t>(rows) * 3 * width * size), output(static_cast<int64_t>(rows) * width * size);
  Buffer log_sum_exp(static_cast<int64_t>(c.heads) * rows * 4);
  for (int s = 0; s < count; ++s) {
    for (int i = 0; i < queries[s]; ++i) {
      StoreToken(qkv.data() + static_cast<int64_t>(begin[s] + i) * 3 * width * size, c, *pieces[s].data, context[s] - queries[s] + i);
    }
  }
  const std::vector<float> slopes = SlopesOf(c);
  std::vector<uint32_t> counters(std::max(1, count * c.heads), 0);
  args.qkv = qkv.data();
  args.qkv_stride = 3 * width;
  args.qkv_rows = rows;
  args.output = output.data();
  args.output_stride = width;
  args.log_sum_exp = reinterpret_cast<float*>(log_sum_exp.data());
  args.cache = cache.layer;
  args.sequences.query_begin = begin.data();
  args.sequences.query_count = queries.data();
  args.sequences.context_length = context.data();
  args.sequences.block_table = cache.table.data();
  args.sequences.block_table_stride = cache.table_stride;
  args.sequences.count = count;
  args.scale = 1.0f / std::sqrt(static_cast<float>(c.head_dim));
  args.alibi_slopes = c.alibi ? slopes.data() : nullptr;
  args.mode = c.mode;
  args.sequences.host_query_begin = begin.data();
  args.sequences.host_query_count = queries.data();
  args.sequences.host_context_length = context.data();
  args.decode_counters = c.counters ? counters.data() : nullptr;
  args.workspace_bytes = c.workspace_bytes >= 0 ? c.workspace_bytes : kernel.workspace_bytes(args);
  const Buffer workspace(args.workspace_bytes);
  args.workspace = workspace.data();
  const Buffer before(cache.arena->bytes());
  std::memcpy(before.data(), cache.arena->data(), before.bytes());

  kernel.run(args, Stream{});

  EXPECT_EQ(std::memcmp(before.data(), cache.arena->data(), before.bytes()), 0) << "the cache was written";
  EXPECT_TRUE(std::all_of(counters.begin(), counters.end(), [](uint32_t n) { return n == 0; })) << "counters were left behind";
  GpuResult result;
  std::vector<bool> owned(rows, false);
  for (int s = 0; s < count; ++s) {
    std::vector<float> piece_rows, piece_lse;
    for (int i = 0; i < queries[s]; ++i) {
      owned[begin[s] + i] = true;
      for (int d = 0; d < width; ++d) piece_rows.push_back(LoadFloat(output.data() + (static_cast<int64_t>(begin[s] + i) * width + d) * size, c.type));
    }
    for (int h = 0; h < c.heads; ++h) {
      for (int i = 0; i < queries[s]; ++i) {
        piece_lse.push_back(reinterpret_cast<const float*>(log_sum_exp.data())[static_cast<int64_t>(h) * rows + begin[s] + i]);
      }
    }
    result.rows.push_back(std::move(piece_rows));
    result.log_sum_exp.push_back(std::move(piece_lse));
  }
  for (int r = 0; r < rows; ++r) {
    if (owned[r]) continue;
    const char* row = output.data() + static_cast<int64_t>(r) * width * size;
    EXPECT_TRUE(std::all_of(row, row + static_cast<int64_t>(width) * size, [](char b) { return b == '\xff'; })) << "row " << r << " is nobody's and was written";
  }
  return result;
}

GpuErrors CompareToOracle(const GpuCase& c, const std::vector<GpuPiece>& pieces, const GpuResult& result) {
  GpuErrors errors;
  const int width = c.heads * c.head_dim;
  const double scale = 1.0 / std::sqrt(static_cast<double>(c.head_dim));
  const std::vector<float> slopes = SlopesOf(c);
  double std_largest = 0, std_mean = 0, rounding = 0, value_largest = 0, log_sum_largest = 0;
  int64_t elements = 0;
  for (size_t s = 0; s < pieces.size(); ++s) {
    const GpuPiece& piece = pieces[s];
    const GpuSequenceData& data = *piece.data;
    for (int h = 0; h < c.heads && piece.queries > 0; ++h) {
      const double slope = c.alibi ? slopes[h] : 0.0;
      const std::vector<double> q = HeadOf(data.query, width, h, c.head_dim, piece.context - piece.queries, piece.context);
      const std::vector<double> k = HeadOf(data.keys, width, h, c.head_dim, 0, piece.context);
      const std::vector<double> v = HeadOf(data.values, width, h, c.head_dim, 0, piece.context);
      const std::vector<double> reference = oracle::Attention(q, k, v, piece.queries, piece.context, c.head_dim, scale, slope);
      std::vector<float> standard;
      if (c.type == GpuType::kBf16) standard = MathAttention(q, k, v, piece.queries, piece.context, c.head_dim, scale, slope);
      for (int i = 0; i < piece.queries; ++i) {
        const double log_sum = LogSumExp(q, k, i, piece.context - piece.queries + i, c.head_dim, scale, slope);
        const double log_sum_error = std::abs(result.log_sum_exp[s][static_cast<size_t>(h) * piece.queries + i] - log_sum);
        if (!(log_sum_error <= errors.log_sum_exp)) errors.log_sum_exp = log_sum_error;
        log_sum_largest = std::max(log_sum_largest, std::abs(log_sum));
        for (int d = 0; d < c.head_dim; ++d, ++elements) {
          const size_t at = static_cast<size_t>(i) * c.head_dim + d;
          const double expected = reference[at];
          const double error = std::abs(result.rows[s][static_cast<size_t>(i) * width + h * c.head_dim + d] - expected);
          if (!(error <= errors.largest)) errors.largest = error;  // NaN stays
          errors.mean += error;
          value_largest = std::max(value_largest, std::abs(v[at % v.size()]));
          if (standard.empty()) continue;
          std_largest = std::max(std_largest, std::abs(standard[at] - expected));
          std_mean += std::abs(standard[at] - expected);
          rounding = std::max(rounding, std::abs(oracle::RoundToBf16(static_cast<float>(expected)) - expected));
        }
      }
    }
  }
  errors.mean /= static_cast<double>(std::max<int64_t>(elements, 1));
  std_mean /= static_cast<double>(std::max<int64_t>(elements, 1));
  const bool half = c.type == GpuType::kBf16;
  errors.largest_allowed = half ? 2 * std_largest + 2 * rounding : 1e-5 * value_largest;
  errors.log_sum_exp_rounded = log_sum_largest / 256;
  errors.mean_allowed = half ? 1.5 * std_mean : 1e-6 * value_largest;
  return errors;
}

void ExpectGate(const GpuKernel& kernel, const GpuCase& c, const std::vector<GpuPiece>& pieces) {
  const GpuResult result = RunPieces(kernel, c, pieces);
  const GpuErrors errors = CompareToOracle(c, pieces, result);
  EXPECT_LE(errors.largest, errors.largest_allowed) << kernel.name;
  EXPECT_LE(errors.mean, errors.mean_allowed) << kernel.name;
  // Scores that went through memory in bf16 are rounded.
  EXPECT_LE(errors.log_sum_exp, kernel.is_materialised && c.type == GpuType::kBf16 ? errors.log_sum_exp_rounded : 2e-5) << kernel.name;
}

}  // namespace precis::kernels
