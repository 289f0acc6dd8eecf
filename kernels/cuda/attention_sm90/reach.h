#ifndef PRECIS_KERNELS_CUDA_ATTENTION_SM90_REACH_H_
#define PRECIS_KERNELS_CUDA_ATTENTION_SM90_REACH_H_

// ALiBi's reach: with the slope the bias of a far key grows until, whatever its score, nothing of it is left beside the row's own key. Such tiles are left
// out, and not even loaded. By Cauchy and Schwarz
//
//   score(i, j) <= scale |q_i| |k_j| - slope (i - j),   score(i, i) >= -scale |q_i| |k_i|,
//
// so with the longest query Q of a block, the longest key K_t of a tile and K_own of the tiles of the block's own positions, tile t is out of reach where
//
//   scale Q (K_t + K_own) + margin < slope (first row of the block - last key of the tile).
//
// The margin is 2^-80: what is left out lies more than 50 binary places below the last one of the sums, so that results are the same bits. That holds for any
// input; only the gain depends on it. A NaN counts as infinitely long. Norms come from a kernel of their own, which reads queries and keys once.

#include "kernels/cuda/attention_sm90/layout.h"

#ifdef PRECIS_SM90_CODE
namespace precis::kernels::PRECIS_GPU_NS::sm90 {

inline constexpr float kReachMargin = 80 * 0.6931472f;
inline constexpr int kNormThreads = 128;
inline constexpr float kFloatMax = 3.4028234663852886e38f;

// The first tile that a block needs. By all lanes of a warp; the same in each.
PRECIS_DEVICE int FirstTile(const FlashParams& params, const WorkItem& item, int lane) {
  const int own = item.position / kTileKeys;
  const float* keys = params.norms + (static_cast<int64_t>(item.sequence) * params.heads + item.head) * (params.norm_tiles + params.norm_chunks);
  const int chunk = params.norm_tiles + (item.output_row - params.query_begin[item.sequence]) / kNormRows + lane;
  float query = lane * kNormRows < item.rows ? keys[chunk] : 0.0f;
  float own_key = own + lane < item.tiles ? keys[own + lane] : 0.0f;
  PRECIS_NO_UNROLL
  for (int mask = 2; mask > 0; mask /= 2) {  // a block has at most 3 chunks and touches 3 tiles
    query = fmaxf(query, ShuffleXor(query, mask));
    own_key = fmaxf(own_key, ShuffleXor(own_key, mask));
  }
  query = ShuffleIdx(query, 0) * params.scale;
  own_key = ShuffleIdx(own_key, 0);
  const float slope = params.alibi_slopes[item.head];
  int first = own;
  PRECIS_NO_UNROLL
  for (int tile = lane; tile < own; tile += 32) {
    const float distance = static_cast<float>(item.position - tile * kTileKeys - (kTileKeys - 1));
    const bool out = Fma(query, keys[tile] + own_key, kReachMargin) < slope * distance;
    if (!out) first = Min(first, tile);
  }
  PRECIS_NO_UNROLL
  for (int mask = 16; mask > 0; mask /= 2) first = Min(first, ShuffleXor(first, mask));
  return first;
}

struct NormParams {
  const Bf16* qkv;
  int64_t qkv_stride;
  const char* keys;  // of the layer, as in GpuKvLayer
  int64_t page_stride;
  const int32_t* query_begin;
  const int32_t* query_count;
  const int32_t* context_length;
  const int32_t* block_table;
  int block_table_stride;
  float* norms;
  int norm_tiles, norm_chunks;
};

// Squared length of 8 elements.
PRECIS_DEVICE float SquaredLength(const Vec16& v) {
  float sum = 0.0f;
  PRECIS_UNROLL
  for (int i = 0; i < 4; ++i) {
    float low, high;
    UnpackBf16(v.w[i], low, high);
    sum = Fma(low, low, Fma(high, high, sum));
  }
  return sum;
}

// The longest of `count` rows of 64, eight threads a row, kNormThreads / 8 rows at a time; row(i): its address, or null.
template <int kRows, class Row>
PRECIS_DEVICE float LongestRow(Row row) {
  const int part = static_cast<int>(threadIdx.x) % 8;
  Vec16 chunks[kRows * 8 / kNormThreads];
  PRECIS_UNROLL
  for (int i = 0; i < kRows * 8 / kNormThreads; ++i) {
    const char* line = row(i * (kNormThreads / 8) + static_cast<int>(threadIdx.x) / 8);
    chunks[i] = line != nullptr ? Load16(line + 16 * part) : Vec16{{0, 0, 0, 0}};
  }
  float longest = 0.0f;
  PRECIS_UNROLL
  for (int i = 0; i < kRows * 8 / kNormThreads; ++i) {
    float sum = SquaredLength(chunks[i]);
    PRECIS_UNROLL
    for (int mask = 1; mask < 8; mask *= 2) sum += ShuffleXor(sum, mask);
    longest = sum <= longest ? longest : sum;  // a NaN stays
    if (!(longest <= kFloatMax)) longest = kFloatMax;
  }
  return longest;
}

// The root, and a little more, so that rounding never shortens a bound.
PRECIS_DEVICE float NormOf(float squared_length) { return squared_length > 0.0f ? squared_length * Rsqrt(squared_length) * 1.0001f : 0.0f; }

// Block (x, head, sequence): a tile of keys, and from norm_tiles on a chunk of queries.
PRECIS_KERNEL(kNormThreads, 8) NormsSm90(const PRECIS_GRID_CONSTANT NormParams p) {
  GridDependencyWait();
  GridDependencyLaunch();
  const int x = static_cast<int>(blockIdx.x), head = static_cast<int>(blockIdx.y), sequence = static_cast<int>(blockIdx.z);
  const bool queries = x >= p.norm_tiles;
  const int context = queries ? 0 : p.context_length[sequence], count = queries ? p.query_count[sequence] : 0;
  if (queries ? (x - p.norm_tiles) * kNormRows >= count : x * kTileKeys >= context) return;
  float longest;
  if (queries) {
    longest = LongestRow<kNormRows>([&](int i) -> const char* {
      const int row = (x - p.norm_tiles) * kNormRows + i;
      return row < count ? reinterpret_cast<const char*>(p.qkv + (p.query_begin[sequence] + row) * p.qkv_stride + head * kHeadDim) : nullptr;
    });
  } else {
    const int32_t* pages = p.block_table + static_cast<int64_t>(sequence) * p.block_table_stride;
    longest = LongestRow<kTileKeys>([&](int i) -> const char* {
      const int key = x * kTileKeys + i;
      if (key >= context) return nullptr;
      return p.keys + pages[key / kPageTokens] * p.page_stride + static_cast<int64_t>(head * kPageTokens + key % kPageTokens) * (kHeadDim * 2);
    });
  }
  PRECIS_UNROLL
  for (int mask = 8; mask < 32; mask *= 2) longest = fmaxf(longest, ShuffleXor(longest, mask));
  float* warps = reinterpret_cast<float*>(DynamicShared());
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = longest;
  SyncThreads();
  if (threadIdx.x > 0) return;
  for (int warp = 1; warp < kNormThreads / 32; ++warp) longest = fmaxf(longest, warps[warp]);
  p.norms[(static_cast<int64_t>(sequence) * gridDim.y + head) * gridDim.x + x] = NormOf(longest);
}

}  // namespace precis::kernels::PRECIS_GPU_NS::sm90
#endif  // PRECIS_SM90_CODE

#endif  // PRECIS_KERNELS_CUDA_ATTENTION_SM90_REACH_H_
