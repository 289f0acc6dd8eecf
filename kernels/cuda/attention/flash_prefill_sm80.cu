// Tiled attention with online softmax for sm_80 and later, by mma.m16n8k16, ldmatrix and cp.async (FlashAttention-2's scheme: Dao 2023).
//
// A block takes one head and the query rows of one sequence at positions [128 b, 128 b + 128): query tiles stand at absolute positions like key tiles, so a row is
// computed in the same way whatever chunk it comes in. Four warps take 32 rows each; scores, weights and outputs never leave registers. Keys and values come 64
// at a time from the pages, the next tile being copied while this one is used: one barrier a tile. Blocks with the most keys are launched first.
// Rows of keys past the context are zeroed by the copy; scores above the diagonal are replaced, never multiplied.

#include "kernels/cuda/attention/attention_common.h"
#include "kernels/cuda/attention/policy.h"
#include "kernels/cuda/attention/prefill_f32.h"
#include "kernels/cuda/attention/prefill_params.h"
#include "kernels/cuda/attention/tiles.h"
#include "kernels/cuda/attention/attention_ops.h"
#include "kernels/cuda/platform/launch.h"

namespace precis::kernels::PRECIS_GPU_NS {
namespace {

constexpr int kWarps = 4;
constexpr int kThreads = 32 * kWarps;
constexpr int kKeys = 64;  // of a tile

template <int kHeadDim>
struct PrefillShape {
  static constexpr int kRowTiles = kHeadDim <= 64 ? 2 : 1;  // of 16 rows, of a warp
  static constexpr int kWarpRows = 16 * kRowTiles;
  static constexpr int kRows = kWarps * kWarpRows;
  static constexpr int kKvElements = kKeys * kTileStride<kHeadDim>;
  // Queries, then two stages of keys and values.
  static constexpr int kSharedBytes = (kRows * kTileStride<kHeadDim> + 4 * kKvElements) * 2;
};

// Softmax state of a thread's rows: lane / 4 + 8 * half of row tile m.
template <int kRowTiles>
struct SoftmaxState {
  float maximum[kRowTiles][2];
  float sum[kRowTiles][2];  // of this thread's columns
};

// Scores to weights, in place; output is scaled to the new maximum. `distance`: first key of the tile - position of the warp's first row.
template <class Policy, int kRowTiles, int kColumns, int kDims>
PRECIS_DEVICE void OnlineSoftmax(const Policy& policy, SoftmaxState<kRowTiles>& state, float (&s)[kRowTiles][kColumns][4],
                                 float (&output)[kRowTiles][kDims][4], int distance, bool masked) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  PRECIS_UNROLL
  for (int m = 0; m < kRowTiles; ++m) {
    PRECIS_UNROLL
    for (int half = 0; half < 2; ++half) {
      const int row = m * 16 + half * 8 + lane / 4;  // in the warp
      float largest = NegativeInfinity();
      PRECIS_UNROLL
      for (int n = 0; n < kColumns; ++n) {
        PRECIS_UNROLL
        for (int c = 0; c < 2; ++c) {
          float& score = s[m][n][2 * half + c];
          score = policy.Score(score, n * 8 + c);
          if (masked && distance + n * 8 + lane % 4 * 2 + c > row) score = NegativeInfinity();
          largest = Maximum(largest, score);
        }
      }
      largest = Maximum(largest, ShuffleXor(largest, 1));
      largest = Maximum(largest, ShuffleXor(largest, 2));
      const float offset = policy.RowOffset(distance - row);
      const float old = state.maximum[m][half];
      const float larger = Maximum(old, largest + offset);
      const float shift = policy.Exponent(larger - offset);
      const float shrink = Exp2(policy.Exponent(old - larger));
      float sum = 0;
      PRECIS_UNROLL
      for (int n = 0; n < kColumns; ++n) {
        PRECIS_UNROLL
        for (int c = 0; c < 2; ++c) {
          float& score = s[m][n][2 * half + c];
          score = policy.Weight(score, shift);
          sum += score;
        }
      }
      state.maximum[m][half] = larger;
      state.sum[m][half] = Fma(state.sum[m][half], shrink, sum);
      PRECIS_UNROLL
      for (int n = 0; n < kDims; ++n) {
        output[m][n][2 * half] *= shrink;
        output[m][n][2 * half + 1] *= shrink;
      }
    }
  }
}

// One tile of keys and values for one warp.
template <class Policy, int kHeadDim>
PRECIS_DEVICE void WarpTile(const Policy& policy, const uint32_t (&q)[PrefillShape<kHeadDim>::kRowTiles][kHeadDim / 16][4], const Bf16* keys,
                            const Bf16* values, SoftmaxState<PrefillShape<kHeadDim>::kRowTiles>& state,
                            float (&output)[PrefillShape<kHeadDim>::kRowTiles][kHeadDim / 8][4], int distance) {
  constexpr int kRowTiles = PrefillShape<kHeadDim>::kRowTiles;
  float s[kRowTiles][kKeys / 8][4];
  MultiplyKeys<kHeadDim, kRowTiles, kKeys>(s, q, keys);
  if (distance + kKeys - 1 > 0) {
    OnlineSoftmax(policy, state, s, output, distance, true);
  } else {
    OnlineSoftmax(policy, state, s, output, distance, false);
  }
  PRECIS_UNROLL
  for (int k = 0; k < kKeys / 16; ++k) {
    uint32_t weights[kRowTiles][4];
    PRECIS_UNROLL
    for (int m = 0; m < kRowTiles; ++m) WeightFragment(weights[m], s[m][2 * k], s[m][2 * k + 1]);
    MultiplyValues<kHeadDim, kRowTiles>(output, weights, values, k * 16);
  }
}

// Divides by the sums and writes the warp's rows through its own part of the query tile.
template <class Policy, int kHeadDim>
PRECIS_DEVICE void StoreWarp(const Policy& policy, const PrefillParams& p, const QueryTile& t, int head, Bf16* tile, int first,
                             SoftmaxState<PrefillShape<kHeadDim>::kRowTiles>& state,
                             const float (&output)[PrefillShape<kHeadDim>::kRowTiles][kHeadDim / 8][4]) {
  constexpr int kRowTiles = PrefillShape<kHeadDim>::kRowTiles;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  SyncWarp();
  PRECIS_UNROLL
  for (int m = 0; m < kRowTiles; ++m) {
    float factor[2];
    PRECIS_UNROLL
    for (int half = 0; half < 2; ++half) {
      float sum = state.sum[m][half];
      sum += ShuffleXor(sum, 1);
      sum += ShuffleXor(sum, 2);
      factor[half] = 1.0f / sum;
      const int row = first + m * 16 + half * 8 + lane / 4;
      if (p.log_sum_exp != nullptr && lane % 4 == 0 && row >= t.begin && row < t.end) {
        p.log_sum_exp[head * p.log_sum_exp_stride + t.first_row + row] = policy.Exponent(state.maximum[m][half]) * kLn2 + Log(sum);
      }
    }
    StoreFragments<kHeadDim>(tile, first + m * 16, output[m], factor);
  }
  SyncWarp();
  StoreRows<kHeadDim, 16 * kRowTiles>(p.output + t.first_row * p.output_stride + head * (kHeadDim * 2), p.output_stride, tile, first, t.begin, t.end);
}

template <class Policy, int kHeadDim>
PRECIS_KERNEL(kThreads, 2) FlashPrefillKernel(const PrefillParams p) {
  using Shape = PrefillShape<kHeadDim>;
  constexpr int kRowTiles = Shape::kRowTiles, kRows = Shape::kRows;
  GridDependencyWait();
  GridDependencyLaunch();
  const int head = static_cast<int>(blockIdx.x), sequence = static_cast<int>(blockIdx.y);
  const QueryTile t = MakeQueryTile(p, sequence, static_cast<int>(gridDim.z - 1 - blockIdx.z), kRows);
  if (t.begin >= t.end) return;
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const int first = warp * Shape::kWarpRows;  // this warp's first row in the tile

  Bf16* query_tile = reinterpret_cast<Bf16*>(DynamicShared());
  Bf16* kv_tiles = query_tile + kRows * kTileStride<kHeadDim>;  // stage s: keys at 2 s, values at 2 s + 1
  const int32_t* table = p.rows.block_table + static_cast<int64_t>(sequence) * p.rows.block_table_stride;
  const int64_t head_offset = static_cast<int64_t>(head) * (kTokensPerPage * kHeadDim * 2);
  const char* keys = p.kv.keys + head_offset;
  const char* values = p.kv.values + head_offset;
  const int limit = t.position + t.end;  // keys that any row sees
  const int tiles = CeilDiv(limit, kKeys);

  CopyRows<kHeadDim, kRows, kThreads>(query_tile, p.q + t.first_row * p.q_stride + head * (kHeadDim * 2), p.q_stride, t.begin, t.end);
  CopyPagedTile<kHeadDim, kKeys, kThreads>(kv_tiles, keys, p.kv.page_stride, table, 0, limit);
  CopyPagedTile<kHeadDim, kKeys, kThreads>(kv_tiles + Shape::kKvElements, values, p.kv.page_stride, table, 0, limit);
  CpAsyncCommit();

  const Policy policy = Policy::Make(p.scale_log2, p.slopes, head, lane % 4 * 2);
  const bool has_rows = first < t.end && first + Shape::kWarpRows > t.begin;
  uint32_t q[kRowTiles][kHeadDim / 16][4];
  SoftmaxState<kRowTiles> state;
  float output[kRowTiles][kHeadDim / 8][4];
  PRECIS_UNROLL
  for (int m = 0; m < kRowTiles; ++m) {
    PRECIS_UNROLL
    for (int half = 0; half < 2; ++half) {
      state.maximum[m][half] = NegativeInfinity();
      state.sum[m][half] = 0.0f;
    }
    PRECIS_UNROLL
    for (int n = 0; n < kHeadDim / 8; ++n) {
      PRECIS_UNROLL
      for (int i = 0; i < 4; ++i) output[m][n][i] = 0.0f;
    }
  }

  for (int tile = 0; tile < tiles; ++tile) {
    CpAsyncWait<0>();
    SyncThreads();  // this tile has landed for all; all are done with the other stage
    Bf16* stage = kv_tiles + (tile % 2) * 2 * Shape::kKvElements;
    if (tile + 1 < tiles) {
      Bf16* next = kv_tiles + ((tile + 1) % 2) * 2 * Shape::kKvElements;
      CopyPagedTile<kHeadDim, kKeys, kThreads>(next, keys, p.kv.page_stride, table, (tile + 1) * kKeys, limit);
      CopyPagedTile<kHeadDim, kKeys, kThreads>(next + Shape::kKvElements, values, p.kv.page_stride, table, (tile + 1) * kKeys, limit);
      CpAsyncCommit();
    }
    if (tile == 0) {
      PRECIS_UNROLL
      for (int m = 0; m < kRowTiles; ++m) LoadAFragments<kHeadDim>(q[m], query_tile, first + m * 16);
    }
    const int distance = tile * kKeys - (t.position + first);
    if (has_rows && distance < Shape::kWarpRows) WarpTile<Policy, kHeadDim>(policy, q, stage, stage + Shape::kKvElements, state, output, distance);
  }
  if (has_rows) StoreWarp<Policy, kHeadDim>(policy, p, t, head, query_tile, first, state, output);
}

}  // namespace

void FlashPrefillSm80(const GpuAttentionArgs& args, Stream stream) {
  if (args.sequences.count == 0 || args.sequences.max_query == 0) return;
  if (args.cache.type == GpuType::kF32) return FlashPrefillF32(args, stream);
  const PrefillParams p = MakePrefillParams(args, 2);
  DispatchHeadDim(args.cache.head_dim, [&](auto dim) {
    constexpr int kHeadDim = decltype(dim)::value;
    using Shape = PrefillShape<kHeadDim>;
    LaunchConfig config;
    config.grid.x = args.cache.heads;
    config.grid.y = args.sequences.count;
    config.grid.z = CeilDiv(args.sequences.max_context, Shape::kRows);
    config.block.x = kThreads;
    config.shared_bytes = Shape::kSharedBytes;
    config.stream = stream;
    config.dependent = true;
    DispatchPolicy(args.alibi_slopes, [&](auto tag) { Launch(FlashPrefillKernel<typename decltype(tag)::Policy, kHeadDim>, config, p); });
  });
}

}  // namespace precis::kernels::PRECIS_GPU_NS
