#include "tests/gpu/support/attention_case.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <numeric>
#include <random>

namespace precis::gpu_test {
namespace {

constexpr int kPage = 16;
constexpr int kParts = 4;    // two layers
constexpr int kKeyPart = 2;  // the second is used
constexpr uint16_t kNan = 0xFFFF;

class Normal {
 public:
  explicit Normal(uint64_t seed) : state_(seed * 0x9E3779B97F4A7C15u + 1) {}
  // Sum of four uniforms: variance 1, tails to 3.5.
  float operator()() {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    const uint64_t bits = state_ ^ (state_ >> 29);
    float sum = 0;
    for (int i = 0; i < 4; ++i) sum += static_cast<float>((bits >> (16 * i)) & 0xFFFF) / 65536.0f;
    return (sum - 2.0f) * 1.7320508f;
  }

 private:
  uint64_t state_;
};

}  // namespace

float FromBf16(uint16_t bits) {
  const uint32_t word = static_cast<uint32_t>(bits) << 16;
  float value;
  std::memcpy(&value, &word, 4);
  return value;
}

uint16_t RoundToBf16(float value) {
  uint32_t word;
  std::memcpy(&word, &value, 4);
  return static_cast<uint16_t>((word + 0x7FFF + ((word >> 16) & 1)) >> 16);
}

std::vector<float> AlibiSlopes(int heads) {
  int power = 1;
  while (power * 2 <= heads) power *= 2;
  std::vector<float> slopes;
  for (int k = 1; k <= power; ++k) slopes.push_back(std::exp2(-8.0f * static_cast<float>(k) / static_cast<float>(power)));
  for (int k = 1; static_cast<int>(slopes.size()) < heads; k += 2) {
    slopes.push_back(std::exp2(-4.0f * static_cast<float>(k) / static_cast<float>(power)));
  }
  return slopes;
}

AttentionCase::AttentionCase(const AttentionShape& shape) : shape_(shape) {
  const int sequences = static_cast<int>(shape.queries.size());
  std::vector<int32_t> begin;
  for (int s = 0; s < sequences; ++s) {
    begin.push_back(rows_);
    rows_ += shape.queries[s];
    table_stride_ = std::max(table_stride_, (shape.contexts[s] + kPage - 1) / kPage);
    pages_ += (shape.contexts[s] + kPage - 1) / kPage;
  }
  const int used = pages_;
  pages_ += 3;
  std::vector<int32_t> order(pages_);
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), std::mt19937(shape.seed));
  table_host_.assign(static_cast<size_t>(std::max(sequences, 1)) * std::max(table_stride_, 1), -7);  // never to be followed
  int next = 0;
  for (int s = 0; s < sequences; ++s) {
    for (int p = 0; p < (shape.contexts[s] + kPage - 1) / kPage; ++p) table_host_[static_cast<size_t>(s) * table_stride_ + p] = order[next++];
  }
  Require(next == used ? cudaSuccess : cudaErrorUnknown, "page table");
  Normal normal(shape.seed);
  qkv_host_.resize(static_cast<size_t>(rows_) * 3 * width());
  for (uint16_t& value : qkv_host_) value = RoundToBf16(shape.spread * normal());
  const int64_t part = static_cast<int64_t>(shape.heads) * kPage * shape.head_dim;
  std::vector<uint16_t> arena(static_cast<size_t>(pages_) * kParts * part, kNan);
  FillCache(arena, part, kParts * part);
  qkv_ = DeviceArray<uint16_t>(qkv_host_);
  arena_ = DeviceArray<uint16_t>(arena);
  output_ = DeviceArray<uint16_t>(static_cast<size_t>(rows_) * width());
  log_sum_exp_ = DeviceArray<float>(static_cast<size_t>(rows_) * shape.heads);
  slopes_ = DeviceArray<float>(AlibiSlopes(shape.heads));
  begin_ = DeviceArray<int32_t>(begin);
  count_ = DeviceArray<int32_t>(std::vector<int32_t>(shape.queries.begin(), shape.queries.end()));
  context_ = DeviceArray<int32_t>(std::vector<int32_t>(shape.contexts.begin(), shape.contexts.end()));
  table_ = DeviceArray<int32_t>(table_host_);
  PoisonOutput();
}

void AttentionCase::FillCache(std::vector<uint16_t>& arena, int64_t part, int64_t page) const {
  Normal prefix(shape_.seed + 77);
  int row = 0;
  for (size_t s = 0; s < shape_.queries.size(); ++s) {
    const int before = shape_.contexts[s] - shape_.queries[s];
    for (int t = 0; t < shape_.contexts[s]; ++t) {
      const int64_t base = table_host_[s * table_stride_ + t / kPage] * page;
      const uint16_t* source = t < before ? nullptr : &qkv_host_[static_cast<size_t>(row + t - before) * 3 * width()];
      for (int v = 0; v < 2; ++v) {
        for (int h = 0; h < shape_.heads; ++h) {
          uint16_t* slot = &arena[base + (kKeyPart + v) * part + (static_cast<int64_t>(h) * kPage + t % kPage) * shape_.head_dim];
          for (int d = 0; d < shape_.head_dim; ++d) {
            slot[d] = source != nullptr ? source[(1 + v) * width() + h * shape_.head_dim + d] : RoundToBf16(shape_.spread * prefix());
          }
        }
      }
    }
    row += shape_.queries[s];
  }
}

void AttentionCase::PoisonOutput() const {
  output_.Poison();
  log_sum_exp_.Poison();
}

kernels::GpuAttentionArgs AttentionCase::Args() const {
  kernels::GpuAttentionArgs args = {};
  args.qkv = qkv_.get();
  args.qkv_stride = 3 * width();
  args.qkv_rows = rows_;
  args.output = output_.get();
  args.output_stride = width();
  args.log_sum_exp = log_sum_exp_.get();
  args.cache.part_bytes = static_cast<int64_t>(shape_.heads) * kPage * shape_.head_dim * 2;
  args.cache.page_stride = kParts * args.cache.part_bytes;
  args.cache.arena = reinterpret_cast<char*>(arena_.get());
  args.cache.keys = args.cache.arena + kKeyPart * args.cache.part_bytes;
  args.cache.values = args.cache.keys + args.cache.part_bytes;
  args.cache.type = kernels::GpuType::kBf16;
  args.cache.heads = shape_.heads;
  args.cache.head_dim = shape_.head_dim;
  args.cache.pages = pages_;
  args.cache.parts = kParts;
  args.cache.key_part = kKeyPart;
  args.sequences.query_begin = begin_.get();
  args.sequences.query_count = count_.get();
  args.sequences.context_length = context_.get();
  args.sequences.block_table = table_.get();
  args.sequences.block_table_stride = table_stride_;
  args.sequences.count = static_cast<int>(shape_.queries.size());
  args.sequences.max_query = shape_.queries.empty() ? 0 : *std::max_element(shape_.queries.begin(), shape_.queries.end());
  args.sequences.max_context = shape_.contexts.empty() ? 0 : *std::max_element(shape_.contexts.begin(), shape_.contexts.end());
  args.sequences.total_queries = rows_;
  args.scale = 1.0f / std::sqrt(static_cast<float>(shape_.head_dim));
  args.alibi_slopes = shape_.alibi ? slopes_.get() : nullptr;
  args.mode = kernels::GemmMode::kInvariant;
  return args;
}

double AttentionCase::Flops() const {
  double pairs = 0;
  for (size_t s = 0; s < shape_.queries.size(); ++s) {
    const double q = shape_.queries[s], prefix = shape_.contexts[s] - q;
    pairs += q * prefix + q * q / 2;
  }
  return 4.0 * shape_.head_dim * shape_.heads * pairs;
}

SlicedBatch::SlicedBatch(const AttentionCase& attention, const std::vector<Slice>& slices) : args_(attention.Args()) {
  const AttentionShape& shape = attention.shape();
  const int stride = args_.sequences.block_table_stride;
  std::vector<int32_t> begin, count, context, table;
  kernels::GpuSequences& s = args_.sequences;
  s.count = static_cast<int>(slices.size());
  s.max_query = s.max_context = s.total_queries = 0;
  for (const Slice& slice : slices) {
    int first_row = 0;
    for (int i = 0; i < slice.sequence; ++i) first_row += shape.queries[i];
    begin.push_back(first_row + slice.first);
    count.push_back(slice.count);
    context.push_back(shape.contexts[slice.sequence] - shape.queries[slice.sequence] + slice.first + slice.count);
    const int32_t* row = attention.host_table().data() + static_cast<size_t>(slice.sequence) * stride;
    table.insert(table.end(), row, row + stride);
    s.max_query = std::max(s.max_query, slice.count);
    s.max_context = std::max(s.max_context, static_cast<int>(context.back()));
    s.total_queries += slice.count;
  }
  begin_ = DeviceArray<int32_t>(begin);
  count_ = DeviceArray<int32_t>(count);
  context_ = DeviceArray<int32_t>(context);
  table_ = DeviceArray<int32_t>(table);
  s.query_begin = begin_.get();
  s.query_count = count_.get();
  s.context_length = context_.get();
  s.block_table = table_.get();
}

GateResult ApplyGate(const std::vector<uint16_t>& output, const AttentionReference& reference) {
  GateResult result;
  double std_max = 0, std_mean = 0, round_max = 0;
  const size_t size = reference.reference.size();
  for (size_t i = 0; i < size; ++i) {
    const double ref = reference.reference[i];
    const double error = std::fabs(FromBf16(output[i]) - ref);
    const double std_error = std::fabs(FromBf16(reference.standard[i]) - ref);
    if (!(error <= result.max_error)) {  // a NaN is taken and stays
      result.max_error = error;
      result.worst = i;
    }
    result.mean_error += error;
    std_max = std::max(std_max, std_error);
    std_mean += std_error;
    round_max = std::max(round_max, std::fabs(FromBf16(RoundToBf16(static_cast<float>(ref))) - ref));
  }
  const double count = size > 0 ? static_cast<double>(size) : 1.0;
  result.mean_error /= count;
  result.max_allowed = 2 * std_max + 2 * round_max;
  result.mean_allowed = 1.5 * std_mean / count;
  result.passed = result.max_error <= result.max_allowed && result.mean_error <= result.mean_allowed;
  return result;
}

std::string GateResult::Text() const {
  char text[200];
  int used = std::snprintf(text, sizeof(text), "max %.3g (<= %.3g), mean %.3g (<= %.3g)", max_error, max_allowed, mean_error, mean_allowed);
  if (!passed) std::snprintf(text + used, sizeof(text) - used, ", worst at element %zu", worst);
  return text;
}

}  // namespace precis::gpu_test
