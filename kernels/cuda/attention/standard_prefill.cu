// Attention with the scores in memory: S = Q K^T, softmax over S, S V, each a launch over the whole batch. Query rows go in chunks when the workspace is smaller
// than [heads][rows][context].
//
// The products are the library's with GemmMode::kFast (standard_library.cu), else our own, by mma.m16n8k16 (f32 mode: fused multiply-adds), with keys and values straight from the pages. A block takes the query rows at
// positions [128 b, 128 b + 128) of a sequence; a score is one chain over the head's dimensions, an output one chain over the keys in tiles of 64 at absolute
// positions, so a row's bits don't depend on the batch or the chunks. Tiles wholly above the diagonal are left out.

#include "kernels/cuda/attention/standard.h"
#include "kernels/cuda/attention/tiles.h"
#include "kernels/cuda/attention/attention_ops.h"

namespace precis::kernels::PRECIS_GPU_NS {
namespace {

constexpr int kWarps = 4;
constexpr int kThreads = 32 * kWarps;
constexpr int kRowTiles = 2;
constexpr int kWarpRows = 16 * kRowTiles;
constexpr int kWeightElements = kStandardRows * kTileStride<kScoreTile>;

// S of 128 rows x 64 keys. Grid: heads * key tiles, sequences, blocks of rows.
template <int kHeadDim>
PRECIS_KERNEL(kThreads, 2) ScoresKernel(const PrefillParams p, const ScoreMatrix scores, const int heads) {
  GridDependencyWait();
  GridDependencyLaunch();
  const int head = static_cast<int>(blockIdx.x) % heads, first_key = static_cast<int>(blockIdx.x) / heads * kScoreTile;
  const int sequence = static_cast<int>(blockIdx.y);
  QueryTile t = MakeQueryTile(p, sequence, static_cast<int>(blockIdx.z), kStandardRows);
  CutToChunk(t, p, scores, sequence);
  const int limit = t.position + t.end;
  if (t.begin >= t.end || first_key >= limit) return;
  const int warp = static_cast<int>(threadIdx.x) / 32, first = warp * kWarpRows;

  Bf16* queries = reinterpret_cast<Bf16*>(DynamicShared());
  Bf16* keys = queries + kStandardRows * kTileStride<kHeadDim>;
  Bf16* result = keys + kScoreTile * kTileStride<kHeadDim>;
  const int32_t* table = p.rows.block_table + static_cast<int64_t>(sequence) * p.rows.block_table_stride;
  const char* head_keys = p.kv.keys + static_cast<int64_t>(head) * (kTokensPerPage * kHeadDim * 2);
  CopyRows<kHeadDim, kStandardRows, kThreads>(queries, p.q + t.first_row * p.q_stride + head * (kHeadDim * 2), p.q_stride, t.begin, t.end);
  CopyPagedTile<kHeadDim, kScoreTile, kThreads>(keys, head_keys, p.kv.page_stride, table, first_key, limit);
  CpAsyncCommit();
  CpAsyncWait<0>();
  SyncThreads();
  if (first >= t.end || first + kWarpRows <= t.begin) return;

  uint32_t q[kRowTiles][kHeadDim / 16][4];
  float s[kRowTiles][kScoreTile / 8][4];
  PRECIS_UNROLL
  for (int m = 0; m < kRowTiles; ++m) LoadAFragments<kHeadDim>(q[m], queries, first + m * 16);
  MultiplyKeys<kHeadDim, kRowTiles, kScoreTile>(s, q, keys);
  const float factor[2] = {1.0f, 1.0f};
  PRECIS_UNROLL
  for (int m = 0; m < kRowTiles; ++m) StoreFragments<kScoreTile>(result, first + m * 16, s[m], factor);
  SyncWarp();
  char* target = ScoreRow(scores, head, t) + first_key * 2;
  StoreRows<kScoreTile, kWarpRows>(target, scores.row_bytes, result, first, t.begin, t.end);
}

// Output of 128 rows: weights x values, 64 keys at a time, the next tile being copied while this one is used.
template <int kHeadDim>
PRECIS_KERNEL(kThreads, 2) WeightedSumKernel(const PrefillParams p, const ScoreMatrix scores) {
  constexpr int kStage = kWeightElements + kScoreTile * kTileStride<kHeadDim>;
  GridDependencyWait();
  GridDependencyLaunch();
  const int head = static_cast<int>(blockIdx.x), sequence = static_cast<int>(blockIdx.y);
  QueryTile t = MakeQueryTile(p, sequence, static_cast<int>(gridDim.z - 1 - blockIdx.z), kStandardRows);
  CutToChunk(t, p, scores, sequence);
  if (t.begin >= t.end) return;
  const int limit = t.position + t.end, tiles = CeilDiv(limit, kScoreTile);
  const int warp = static_cast<int>(threadIdx.x) / 32, first = warp * kWarpRows;

  Bf16* stages = reinterpret_cast<Bf16*>(DynamicShared());
  const int32_t* table = p.rows.block_table + static_cast<int64_t>(sequence) * p.rows.block_table_stride;
  const char* head_values = p.kv.values + static_cast<int64_t>(head) * (kTokensPerPage * kHeadDim * 2);
  const char* weights = ScoreRow(scores, head, t);
  const auto copy = [&](int tile) {
    Bf16* stage = stages + tile % 2 * kStage;
    CopyRows<kScoreTile, kStandardRows, kThreads>(stage, weights + tile * (kScoreTile * 2), scores.row_bytes, t.begin, t.end);
    CopyPagedTile<kHeadDim, kScoreTile, kThreads>(stage + kWeightElements, head_values, p.kv.page_stride, table, tile * kScoreTile, limit);
    CpAsyncCommit();
  };
  copy(0);
  float output[kRowTiles][kHeadDim / 8][4] = {};
  for (int tile = 0; tile < tiles; ++tile) {
    CpAsyncWait<0>();
    SyncThreads();
    if (tile + 1 < tiles) copy(tile + 1);
    if (tile * kScoreTile >= t.position + first + kWarpRows) continue;  // above the diagonal for all of this warp's rows
    const Bf16* stage = stages + tile % 2 * kStage;
    PRECIS_UNROLL
    for (int k = 0; k < kScoreTile / 16; ++k) {
      uint32_t fragments[kRowTiles][4];
      PRECIS_UNROLL
      for (int m = 0; m < kRowTiles; ++m) LoadAFragment<kScoreTile>(fragments[m], stage, first + m * 16, k);
      MultiplyValues<kHeadDim, kRowTiles>(output, fragments, stage + kWeightElements, k * 16);
    }
  }
  SyncThreads();  // all are done with the stages: the first becomes the output tile
  if (first >= t.end || first + kWarpRows <= t.begin) return;
  const float factor[2] = {1.0f, 1.0f};
  PRECIS_UNROLL
  for (int m = 0; m < kRowTiles; ++m) StoreFragments<kHeadDim>(stages, first + m * 16, output[m], factor);
  SyncWarp();
  StoreRows<kHeadDim, kWarpRows>(p.output + t.first_row * p.output_stride + head * (kHeadDim * 2), p.output_stride, stages, first, t.begin, t.end);
}

// The f32 mode: one thread a score, one thread an output.
PRECIS_KERNEL(kThreads, 2) ScoresF32Kernel(const PrefillParams p, const ScoreMatrix scores, const int head_dim) {
  GridDependencyWait();
  GridDependencyLaunch();
  const int head = static_cast<int>(blockIdx.x), sequence = static_cast<int>(blockIdx.y);
  QueryTile t = MakeQueryTile(p, sequence, static_cast<int>(blockIdx.z), kStandardRows);
  CutToChunk(t, p, scores, sequence);
  const int32_t* table = p.rows.block_table + static_cast<int64_t>(sequence) * p.rows.block_table_stride;
  const char* head_keys = p.kv.keys + static_cast<int64_t>(head) * kTokensPerPage * head_dim * 4;
  for (int r = t.begin; r < t.end; ++r) {
    const float* q = reinterpret_cast<const float*>(p.q + (t.first_row + r) * p.q_stride) + head * head_dim;
    float* row = reinterpret_cast<float*>(ScoreRow(scores, head, t) + r * scores.row_bytes);
    for (int key = static_cast<int>(threadIdx.x); key <= t.position + r; key += kThreads) {
      const float* k = reinterpret_cast<const float*>(head_keys + table[key / kTokensPerPage] * p.kv.page_stride) + key % kTokensPerPage * head_dim;
      float dot = 0;
      for (int d = 0; d < head_dim; ++d) dot = Fma(q[d], k[d], dot);
      row[key] = dot;
    }
  }
}

PRECIS_KERNEL(kThreads, 2) WeightedSumF32Kernel(const PrefillParams p, const ScoreMatrix scores, const int head_dim) {
  GridDependencyWait();
  GridDependencyLaunch();
  const int head = static_cast<int>(blockIdx.x), sequence = static_cast<int>(blockIdx.y);
  QueryTile t = MakeQueryTile(p, sequence, static_cast<int>(blockIdx.z), kStandardRows);
  CutToChunk(t, p, scores, sequence);
  const int32_t* table = p.rows.block_table + static_cast<int64_t>(sequence) * p.rows.block_table_stride;
  const char* head_values = p.kv.values + static_cast<int64_t>(head) * kTokensPerPage * head_dim * 4;
  for (int i = static_cast<int>(threadIdx.x); i < (t.end - t.begin) * head_dim; i += kThreads) {
    const int r = t.begin + i / head_dim, d = i % head_dim;
    const float* row = reinterpret_cast<const float*>(ScoreRow(scores, head, t) + r * scores.row_bytes);
    float sum = 0;
    for (int key = 0; key <= t.position + r; ++key) {
      const float* v = reinterpret_cast<const float*>(head_values + table[key / kTokensPerPage] * p.kv.page_stride) + key % kTokensPerPage * head_dim;
      sum = Fma(row[key], v[d], sum);
    }
    reinterpret_cast<float*>(p.output + (t.first_row + r) * p.output_stride)[head * head_dim + d] = sum;
  }
}

LaunchConfig BlockGrid(const GpuAttentionArgs& args, Stream stream) {
  LaunchConfig config;
  config.grid.x = args.cache.heads;
  config.grid.y = args.sequences.count;
  config.grid.z = CeilDiv(args.sequences.max_context, kStandardRows);
  config.block.x = kThreads;
  config.stream = stream;
  config.dependent = true;
  return config;
}

void ChunkF32(const PrefillParams& p, const ScoreMatrix& scores, const GpuAttentionArgs& args, Stream stream) {
  const LaunchConfig config = BlockGrid(args, stream);
  Launch(ScoresF32Kernel, config, p, scores, args.cache.head_dim);
  StandardSoftmax(p, scores, args, false, stream);
  Launch(WeightedSumF32Kernel, config, p, scores, args.cache.head_dim);
}

void ChunkBf16(const PrefillParams& p, const ScoreMatrix& scores, const GpuAttentionArgs& args, Stream stream) {
  DispatchHeadDim(args.cache.head_dim, [&](auto dim) {
    constexpr int kHeadDim = decltype(dim)::value;
    LaunchConfig config = BlockGrid(args, stream);
    config.grid.x = args.cache.heads * CeilDiv(args.sequences.max_context, kScoreTile);
    config.shared_bytes = ((kStandardRows + kScoreTile) * kTileStride<kHeadDim> + kWeightElements) * 2;
    Launch(ScoresKernel<kHeadDim>, config, p, scores, args.cache.heads);
    StandardSoftmax(p, scores, args, false, stream);
    config.grid.x = args.cache.heads;
    config.shared_bytes = 2 * (kWeightElements + kScoreTile * kTileStride<kHeadDim>) * 2;
    Launch(WeightedSumKernel<kHeadDim>, config, p, scores);
  });
}

int ElementBytes(GpuType type) { return type == GpuType::kF32 ? 4 : 2; }

}  // namespace

int64_t StandardWorkspaceBytes(int heads, int head_dim, int max_query, int max_context, int total_queries, GpuType type) {
  const int64_t gather = type == GpuType::kBf16 && max_query > 1 ? GatherBytes(heads, head_dim, max_context) : 0;
  return gather + ScoreRowBytes(max_context, ElementBytes(type)) * heads * total_queries;
}

int StandardChunkRows(int heads, int head_dim, int max_query, int max_context, int total_queries, GpuType type, int64_t workspace_bytes) {
  const int64_t row = ScoreRowBytes(max_context, ElementBytes(type)) * heads;
  const int64_t gather = StandardWorkspaceBytes(heads, head_dim, max_query, max_context, 0, type);
  if (row == 0 || total_queries == 0) return total_queries;
  if (workspace_bytes < gather) return 0;
  const int64_t rows = (workspace_bytes - gather) / row;
  return static_cast<int>(rows < total_queries ? rows : total_queries);
}

void StandardPrefill(const GpuAttentionArgs& args, Stream stream) {
  const GpuSequences& s = args.sequences;
  if (s.count == 0 || s.max_query == 0 || s.max_context == 0) return;
  const int bytes = ElementBytes(args.cache.type);
  const PrefillParams p = MakePrefillParams(args, bytes);
  const int chunk = StandardChunkRows(args.cache.heads, args.cache.head_dim, s.max_query, s.max_context, s.total_queries, args.cache.type, args.workspace_bytes);
  if (chunk == 0) return;  // a precondition: the caller asked for the bytes
  if (args.mode == GemmMode::kFast && StandardPrefillLibrary(p, args, chunk, stream)) return;
  for (int first = 0; first < s.total_queries; first += chunk) {
    const int rows = s.total_queries - first < chunk ? s.total_queries - first : chunk;
    const ScoreMatrix scores = MakeScoreMatrix(args.workspace, s.max_context, bytes, first, rows);
    if (args.cache.type == GpuType::kF32) {
      ChunkF32(p, scores, args, stream);
    } else {
      ChunkBf16(p, scores, args, stream);
    }
  }
}

}  // namespace precis::kernels::PRECIS_GPU_NS
