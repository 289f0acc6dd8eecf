// Tiled attention with online softmax in f32, without matrix instructions: for the f32 mode, where what counts is that it is right. 32 query rows and 32 keys
// at a time, at absolute positions; four threads a row, each with every fourth key of the scores and every fourth dimension of the output.

#include "kernels/cuda/attention/attention_common.h"
#include "kernels/cuda/attention/policy.h"
#include "kernels/cuda/attention/prefill_f32.h"
#include "kernels/cuda/attention/prefill_params.h"
#include "kernels/cuda/platform/launch.h"

namespace precis::kernels::PRECIS_GPU_NS {
namespace {

constexpr int kThreads = 128;
constexpr int kRows = 32;
constexpr int kKeys = 32;
constexpr int kShare = kThreads / kRows;  // threads of a row

template <int kHeadDim>
struct F32Shape {
  static constexpr int kStride = kHeadDim + 1;
  static constexpr int kTileFloats = kRows * kStride;
  static constexpr int kScoreStride = kKeys + 1;
  // Queries, keys, values, weights.
  static constexpr int kSharedBytes = (3 * kTileFloats + kRows * kScoreStride) * 4;
};

template <int kHeadDim>
PRECIS_DEVICE void CopyPagedRows(float* tile, const char* part, int64_t page_stride, const int32_t* table, int first, int limit) {
  for (int i = static_cast<int>(threadIdx.x); i < kKeys * kHeadDim; i += kThreads) {
    const int row = i / kHeadDim, column = i % kHeadDim, token = first + row;
    float value = 0;
    if (token < limit) {
      const char* page = part + table[token / kTokensPerPage] * page_stride;
      value = reinterpret_cast<const float*>(page)[token % kTokensPerPage * kHeadDim + column];
    }
    tile[row * F32Shape<kHeadDim>::kStride + column] = value;
  }
}

template <class Policy, int kHeadDim>
PRECIS_KERNEL(kThreads, 2) FlashPrefillF32Kernel(const PrefillParams p) {
  using Shape = F32Shape<kHeadDim>;
  GridDependencyWait();
  GridDependencyLaunch();
  const int head = static_cast<int>(blockIdx.x), sequence = static_cast<int>(blockIdx.y);
  const QueryTile t = MakeQueryTile(p, sequence, static_cast<int>(gridDim.z - 1 - blockIdx.z), kRows);
  if (t.begin >= t.end) return;
  const int row = static_cast<int>(threadIdx.x) / kShare, part = static_cast<int>(threadIdx.x) % kShare;

  float* queries = reinterpret_cast<float*>(DynamicShared());
  float* keys = queries + Shape::kTileFloats;
  float* values = keys + Shape::kTileFloats;
  float* weights = values + Shape::kTileFloats + row * Shape::kScoreStride;  // this thread's row
  const int32_t* table = p.rows.block_table + static_cast<int64_t>(sequence) * p.rows.block_table_stride;
  const int64_t head_offset = static_cast<int64_t>(head) * (kTokensPerPage * kHeadDim * 4);
  const int limit = t.position + t.end;

  for (int i = static_cast<int>(threadIdx.x); i < kRows * kHeadDim; i += kThreads) {
    const int r = i / kHeadDim, column = i % kHeadDim;
    float value = 0;
    if (r >= t.begin && r < t.end) value = reinterpret_cast<const float*>(p.q + (t.first_row + r) * p.q_stride)[head * kHeadDim + column];
    queries[r * Shape::kStride + column] = value;
  }
  const Policy policy = Policy::Make(p.scale_log2, p.slopes, head, part);
  float maximum = NegativeInfinity(), sum = 0, output[kHeadDim / kShare] = {};
  for (int first = 0; first < limit; first += kKeys) {
    CopyPagedRows<kHeadDim>(keys, p.kv.keys + head_offset, p.kv.page_stride, table, first, limit);
    CopyPagedRows<kHeadDim>(values, p.kv.values + head_offset, p.kv.page_stride, table, first, limit);
    SyncThreads();
    const int distance = first - (t.position + row);  // from the row to the tile's first key
    float s[kKeys / kShare];
    float largest = NegativeInfinity();
    PRECIS_UNROLL
    for (int k = 0; k < kKeys / kShare; ++k) {
      float dot = 0;
      for (int d = 0; d < kHeadDim; ++d) dot = Fma(queries[row * Shape::kStride + d], keys[(k * kShare + part) * Shape::kStride + d], dot);
      s[k] = policy.Score(dot, k * kShare);
      if (distance + k * kShare + part > 0) s[k] = NegativeInfinity();
      largest = Maximum(largest, s[k]);
    }
    largest = Maximum(largest, ShuffleXor(largest, 1));
    largest = Maximum(largest, ShuffleXor(largest, 2));
    const float offset = policy.RowOffset(distance);
    const float larger = Maximum(maximum, largest + offset);
    const float shift = policy.Exponent(larger - offset);
    const float shrink = Exp2(policy.Exponent(maximum - larger));
    maximum = larger;
    sum *= shrink;
    PRECIS_UNROLL
    for (int k = 0; k < kKeys / kShare; ++k) {
      const float weight = policy.Weight(s[k], shift);
      weights[k * kShare + part] = weight;
      sum += weight;
    }
    SyncWarp();
    PRECIS_UNROLL
    for (int d = 0; d < kHeadDim / kShare; ++d) output[d] *= shrink;
    for (int k = 0; k < kKeys; ++k) {
      PRECIS_UNROLL
      for (int d = 0; d < kHeadDim / kShare; ++d) output[d] = Fma(weights[k], values[k * Shape::kStride + d * kShare + part], output[d]);
    }
    SyncThreads();
  }
  sum += ShuffleXor(sum, 1);
  sum += ShuffleXor(sum, 2);
  if (row < t.begin || row >= t.end) return;
  float* out = reinterpret_cast<float*>(p.output + (t.first_row + row) * p.output_stride) + head * kHeadDim;
  PRECIS_UNROLL
  for (int d = 0; d < kHeadDim / kShare; ++d) out[d * kShare + part] = output[d] / sum;
  if (p.log_sum_exp != nullptr && part == 0) {
    p.log_sum_exp[head * p.log_sum_exp_stride + t.first_row + row] = policy.Exponent(maximum) * kLn2 + Log(sum);
  }
}

}  // namespace

void FlashPrefillF32(const GpuAttentionArgs& args, Stream stream) {
  const PrefillParams p = MakePrefillParams(args, 4);
  DispatchHeadDim(args.cache.head_dim, [&](auto dim) {
    constexpr int kHeadDim = decltype(dim)::value;
    LaunchConfig config;
    config.grid.x = args.cache.heads;
    config.grid.y = args.sequences.count;
    config.grid.z = CeilDiv(args.sequences.max_context, kRows);
    config.block.x = kThreads;
    config.shared_bytes = F32Shape<kHeadDim>::kSharedBytes;
    config.stream = stream;
    config.dependent = true;
    DispatchPolicy(args.alibi_slopes, [&](auto tag) { Launch(FlashPrefillF32Kernel<typename decltype(tag)::Policy, kHeadDim>, config, p); });
  });
}

}  // namespace precis::kernels::PRECIS_GPU_NS
