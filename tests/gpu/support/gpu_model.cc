#include "tests/gpu/support/gpu_model.h"

#include <algorithm>
#include <cstring>
#include <random>

namespace precis::gpu_test {
namespace {

using kernels::GpuActivation;
using kernels::GpuType;

constexpr int kLayers = 12, kHeads = 12, kHeadDim = 64, kWidth = 768, kVocab = 50257, kPlaces = 1024, kPage = 16;
constexpr int64_t kPartBytes = int64_t{kHeads} * kPage * kHeadDim * 2;
constexpr int64_t kPageBytes = 2 * kLayers * kPartBytes;

}  // namespace

std::vector<float> RandomF32(size_t size, uint64_t seed, float spread) {
  std::vector<float> values(size);
  uint64_t state = seed * 0x9E3779B97F4A7C15u + 1;
  for (float& value : values) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    value = (static_cast<float>(state >> 40) / 8388608.0f - 1.0f) * spread * 1.7f;
  }
  return values;
}

std::vector<uint16_t> RandomBf16(size_t size, uint64_t seed, float spread) {
  const std::vector<float> values = RandomF32(size, seed, spread);
  std::vector<uint16_t> half(size);
  for (size_t i = 0; i < size; ++i) {
    uint32_t bits;
    std::memcpy(&bits, &values[i], 4);
    half[i] = static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
  }
  return half;
}

namespace {
int ComputeMajor() {
  static const int major = [] {
    int value = 0;
    PRECIS_REQUIRE(cudaDeviceGetAttribute(&value, cudaDevAttrComputeCapabilityMajor, 0));
    return value;
  }();
  return major;
}
}  // namespace

const kernels::GpuOps& CudaOps() { return kernels::cuda::Ops(ComputeMajor()); }
const kernels::GpuTrainOps& CudaTrainOps(int compute_major) { return kernels::cuda::TrainOps(compute_major > 0 ? compute_major : ComputeMajor()); }

DecodeModel::DecodeModel(int sequences, int context, kernels::GemmMode mode) : sequences_(sequences), context_(context), mode_(mode), layers_(kLayers) {
  uint64_t seed = 1;
  const auto matrix = [&](size_t n, size_t k) {
    weight_bytes_ += 2.0 * static_cast<double>(n * k);
    return DeviceArray<uint16_t>(RandomBf16(n * k, ++seed, 0.02f));
  };
  const auto vector = [&](size_t n, float spread) { return DeviceArray<float>(RandomF32(n, ++seed, spread)); };
  for (Layer& l : layers_) {
    l.gain1 = vector(kWidth, 1), l.bias1 = vector(kWidth, 0.1f), l.gain2 = vector(kWidth, 1), l.bias2 = vector(kWidth, 0.1f);
    l.qkv = matrix(3 * kWidth, kWidth), l.qkv_bias = vector(3 * kWidth, 0.1f);
    l.projection = matrix(kWidth, kWidth), l.projection_bias = vector(kWidth, 0.1f);
    l.up = matrix(4 * kWidth, kWidth), l.up_bias = vector(4 * kWidth, 0.1f);
    l.down = matrix(kWidth, 4 * kWidth), l.down_bias = vector(kWidth, 0.1f);
  }
  table_ = matrix(kVocab, kWidth);
  positions_table_ = DeviceArray<uint16_t>(RandomBf16(kPlaces * kWidth, ++seed, 0.02f));
  gain_ = vector(kWidth, 1), bias_ = vector(kWidth, 0.1f);
  const auto rows = static_cast<size_t>(sequences);
  x_ = DeviceArray<float>(rows * kWidth), logits_ = DeviceArray<float>(rows * kVocab);
  normed_ = DeviceArray<uint16_t>(rows * kWidth), qkv_out_ = DeviceArray<uint16_t>(rows * 3 * kWidth);
  attention_out_ = DeviceArray<uint16_t>(rows * kWidth), up_out_ = DeviceArray<uint16_t>(rows * 4 * kWidth);
  const int pages = (context + kPage - 1) / kPage;
  std::vector<int32_t> order(rows * pages), tokens(rows, 17), positions(rows, context - 1), begin(rows), count(rows, 1), length(rows, context);
  for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int32_t>(i);
  std::shuffle(order.begin(), order.end(), std::mt19937(1));
  std::vector<int64_t> slots(rows);
  for (size_t i = 0; i < rows; ++i) {
    begin[i] = static_cast<int32_t>(i);
    slots[i] = int64_t{order[i * pages + (context - 1) / kPage]} * kPage + (context - 1) % kPage;
  }
  tokens_ = DeviceArray<int32_t>(tokens), positions_ = DeviceArray<int32_t>(positions), query_begin_ = DeviceArray<int32_t>(begin);
  query_count_ = DeviceArray<int32_t>(count), context_length_ = DeviceArray<int32_t>(length), block_table_ = DeviceArray<int32_t>(order);
  slots_ = DeviceArray<int64_t>(slots);
  counters_ = DeviceArray<uint32_t>(std::vector<uint32_t>(rows * kHeads, 0));
  arena_ = DeviceArray<char>(order.size() * kPageBytes);
  PRECIS_REQUIRE(cudaMemset(arena_.get(), 0x3c, arena_.size()));  // 0x3c3c: 0.0115 in bf16
  const int64_t bytes = std::max({CudaOps().decode_workspace_bytes(kHeads, kHeadDim, sequences, context), CudaOps().sample_workspace_bytes(sequences, kVocab),
                                  CudaOps().gemm_workspace_bytes(sequences, kVocab, kWidth, mode), int64_t{256}});
  workspace_ = DeviceArray<char>(static_cast<size_t>(bytes));
}

double DecodeModel::CacheBytes() const { return 2.0 * kLayers * kWidth * 2 * context_ * sequences_; }

kernels::GpuKvLayer DecodeModel::Cache(int layer) const {
  char* keys = arena_.get() + 2 * layer * kPartBytes;
  return {.keys = keys, .values = keys + kPartBytes, .page_stride = kPageBytes, .type = GpuType::kBf16, .heads = kHeads, .head_dim = kHeadDim,
          .arena = arena_.get(), .part_bytes = kPartBytes, .pages = static_cast<int64_t>(arena_.size()) / kPageBytes, .parts = 2 * kLayers, .key_part = 2 * layer};
}

void DecodeModel::Product(const DeviceArray<uint16_t>& x, const DeviceArray<uint16_t>& w, const DeviceArray<float>* bias, void* y, int n, int k, GpuType y_type,
                          GpuActivation activation, bool accumulate, cudaStream_t stream) const {
  CudaOps().gemm({.x = x.get(), .x_stride = k, .w = w.get(), .w_scale = nullptr, .bias = bias != nullptr ? bias->get() : nullptr, .y = y, .y_stride = n,
                  .m = sequences_, .n = n, .k = k, .x_type = GpuType::kBf16, .w_type = GpuType::kBf16, .y_type = y_type, .activation = activation,
                  .accumulate = accumulate, .mode = mode_, .workspace = workspace_.get(), .workspace_bytes = static_cast<int64_t>(workspace_.size())}, {stream});
}

void DecodeModel::Norm(const DeviceArray<float>& gain, const DeviceArray<float>& bias, cudaStream_t stream) const {
  CudaOps().layer_norm({.x = x_.get(), .delta = nullptr, .delta_bias = nullptr, .gain = gain.get(), .bias = bias.get(), .row_index = nullptr, .y = normed_.get(),
                        .type = GpuType::kBf16, .epsilon = 1e-5f, .rows = sequences_, .width = kWidth}, {stream});
}

void DecodeModel::Step(cudaStream_t stream, unsigned parts) const {
  const kernels::GpuOps& ops = CudaOps();
  // Layer norm and product; in one launch where that is to be had.
  const auto norm_product = [&](const DeviceArray<float>& gain, const DeviceArray<float>& gain_bias, const DeviceArray<uint16_t>& w, const DeviceArray<float>* bias,
                                void* y, int n, GpuType y_type, GpuActivation activation) {
    const kernels::GemmArgs fused = {.x = x_.get(), .x_stride = kWidth, .w = w.get(), .w_scale = nullptr, .bias = bias != nullptr ? bias->get() : nullptr, .y = y,
                                     .y_stride = n, .m = sequences_, .n = n, .k = kWidth, .x_type = GpuType::kF32, .w_type = GpuType::kBf16, .y_type = y_type,
                                     .activation = activation, .accumulate = false, .mode = mode_, .workspace = nullptr, .workspace_bytes = 0,
                                     .norm_gain = gain.get(), .norm_bias = gain_bias.get(), .norm_epsilon = 1e-5f};
    if (ops.fused_norm_gemm_takes(fused)) return ops.fused_norm_gemm(fused, {stream});
    Norm(gain, gain_bias, stream);
    Product(normed_, w, bias, y, n, kWidth, y_type, activation, false, stream);
  };
  ops.embed({.tokens = tokens_.get(), .positions = positions_.get(), .token_table = table_.get(), .position_table = positions_table_.get(),
             .token_scale = nullptr, .position_scale = nullptr, .table_type = GpuType::kBf16, .x = x_.get(), .rows = sequences_, .width = kWidth}, {stream});
  for (int i = 0; i < kLayers; ++i) {
    const Layer& l = layers_[static_cast<size_t>(i)];
    if (parts & kProducts) norm_product(l.gain1, l.bias1, l.qkv, &l.qkv_bias, qkv_out_.get(), 3 * kWidth, GpuType::kBf16, GpuActivation::kNone);
    if (parts & kWriteKv) ops.write_kv({.qkv = qkv_out_.get(), .qkv_stride = 3 * kWidth, .slots = slots_.get(), .cache = Cache(i), .rows = sequences_}, {stream});
    const int pages = (context_ + kPage - 1) / kPage;
    if (parts & kAttention) ops.flash_decode({.qkv = qkv_out_.get(), .qkv_stride = 3 * kWidth, .qkv_rows = sequences_, .output = attention_out_.get(), .output_stride = kWidth,
                      .log_sum_exp = nullptr, .cache = Cache(i),
                      .sequences = {.query_begin = query_begin_.get(), .query_count = query_count_.get(), .context_length = context_length_.get(),
                                    .block_table = block_table_.get(), .block_table_stride = pages, .count = sequences_, .max_query = 1, .max_context = context_,
                                    .total_queries = sequences_},
                      .scale = 0.125f, .alibi_slopes = nullptr, .workspace = workspace_.get(), .workspace_bytes = static_cast<int64_t>(workspace_.size()),
                      .mode = mode_, .decode_counters = counters_.get(), .only_last_is_new = true}, {stream});
    if (!(parts & kProducts)) continue;
    Product(attention_out_, l.projection, &l.projection_bias, x_.get(), kWidth, kWidth, GpuType::kF32, GpuActivation::kNone, true, stream);
    norm_product(l.gain2, l.bias2, l.up, &l.up_bias, up_out_.get(), 4 * kWidth, GpuType::kBf16, GpuActivation::kGeluTanh);
    Product(up_out_, l.down, &l.down_bias, x_.get(), kWidth, 4 * kWidth, GpuType::kF32, GpuActivation::kNone, true, stream);
  }
  if (parts & kHead) norm_product(gain_, bias_, table_, nullptr, logits_.get(), kVocab, GpuType::kF32, GpuActivation::kNone);
  if (parts & kHead) ops.sample({.logits = logits_.get(), .stride = kVocab, .vocab = kVocab, .rows = sequences_, .rows_options = nullptr, .edits = nullptr, .tokens = tokens_.get(),
              .workspace = workspace_.get(), .workspace_bytes = static_cast<int64_t>(workspace_.size())}, {stream});
}

}  // namespace precis::gpu_test
