// Attention of one new token a sequence with the scores in memory: scores, softmax, weighted sum, each a launch over the whole batch. A warp reads 32 keys (or
// values) at a time as in flash_decode; in the weighted sum each of the eight warps of a (sequence, head) takes every eighth run of 32 keys, and the warps' results
// are added in order. The workspace is standard_workspace_bytes with max_query 1.

#include "kernels/cuda/attention/decode_warp.h"
#include "kernels/cuda/attention/standard.h"
#include "kernels/cuda/attention/attention_ops.h"

namespace precis::kernels::PRECIS_GPU_NS {
namespace {

constexpr int kWarps = 8;
constexpr int kThreads = 32 * kWarps;

// The warp's view of 32 keys from `first` on; zero context: nothing to read.
template <class Shape>
PRECIS_DEVICE WarpKeys MakeWarpKeys(const PrefillParams& p, int sequence, int head, int first, int context) {
  const int offset = head * (kTokensPerPage * Shape::kRowBytes) + static_cast<int>(threadIdx.x) % 32 % Shape::kLanes * 16;
  return WarpKeys{p.kv.keys + offset, p.kv.values + offset, p.kv.page_stride, LoadPageIds(p.rows, sequence, first, 2, context), first, context};
}

// The row's scores, or weights, in the matrix.
template <class T>
PRECIS_DEVICE T* RowOf(const PrefillParams& p, const ScoreMatrix& scores, int sequence, int head, int context) {
  QueryTile t = MakeQueryTile(p, sequence, context - 1, 1);
  CutToChunk(t, p, scores, sequence);
  return reinterpret_cast<T*>(ScoreRow(scores, head, t));
}

PRECIS_DEVICE int ContextOf(const PrefillParams& p, int sequence) { return p.rows.query_count[sequence] > 0 ? p.rows.context_length[sequence] : 0; }

// Grid: heads, runs of 256 keys, sequences.
template <class T, int kHeadDim>
PRECIS_KERNEL(kThreads, 1) DecodeScoresKernel(const PrefillParams p, const ScoreMatrix scores) {
  using Shape = DecodeShape<T, kHeadDim>;
  GridDependencyWait();
  GridDependencyLaunch();
  const int head = static_cast<int>(blockIdx.x), sequence = static_cast<int>(blockIdx.z);
  const int context = ContextOf(p, sequence), lane = static_cast<int>(threadIdx.x) % 32;
  const int first = (static_cast<int>(blockIdx.y) * kWarps + static_cast<int>(threadIdx.x) / 32) * 32;
  if (first >= context) return;
  const WarpKeys w = MakeWarpKeys<Shape>(p, sequence, head, first, context);
  const StepPages pages = PagesOfStep(w, 0);
  const bool used = lane % Shape::kLanes < Shape::kVectors;
  float q[Shape::kVector] = {};
  if (used) {
    const char* row = p.q + p.rows.query_begin[sequence] * p.q_stride;
    Unpack<T>(Load16(row + head * Shape::kRowBytes + lane % Shape::kLanes * 16), q);
  }
  float sums[Shape::kLanes];
  PRECIS_UNROLL
  for (int batch = 0; batch < Shape::kLanes; batch += Shape::kBatch) {
    Vec16 pieces[Shape::kBatch];
    PRECIS_UNROLL
    for (int i = 0; i < Shape::kBatch; ++i) pieces[i] = LoadPiece<Shape>(w, w.keys, pages, 0, batch + i, used);
    PRECIS_UNROLL
    for (int i = 0; i < Shape::kBatch; ++i) {
      float k[Shape::kVector];
      Unpack<T>(pieces[i], k);
      sums[batch + i] = 0;
      PRECIS_UNROLL
      for (int v = 0; v < Shape::kVector; ++v) sums[batch + i] = Fma(q[v], k[v], sums[batch + i]);
    }
  }
  const float score = TransposingSum<Shape::kLanes>(sums, lane);
  T* row = RowOf<T>(p, scores, sequence, head, context);
  const int key = first + KeyOfLane<Shape>(lane);
  if (key < context) StoreElement(row + key, score);
}

// Grid: heads, sequences.
template <class T, int kHeadDim>
PRECIS_KERNEL(kThreads, 1) DecodeWeightedSumKernel(const PrefillParams p, const ScoreMatrix scores) {
  using Shape = DecodeShape<T, kHeadDim>;
  GridDependencyWait();
  GridDependencyLaunch();
  const int head = static_cast<int>(blockIdx.x), sequence = static_cast<int>(blockIdx.y);
  const int context = ContextOf(p, sequence), thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp = thread / 32;
  if (context == 0) return;
  const T* row = RowOf<T>(p, scores, sequence, head, context);
  const bool used = lane % Shape::kLanes < Shape::kVectors;
  float output[Shape::kVector] = {};
  for (int first = warp * 32; first < context; first += kThreads) {
    const WarpKeys w = MakeWarpKeys<Shape>(p, sequence, head, first, context);
    const StepPages pages = PagesOfStep(w, 0);
    const int key = first + KeyOfLane<Shape>(lane);
    const float weight = key < context ? LoadElement(row + key) : 0.0f;
    PRECIS_UNROLL
    for (int batch = 0; batch < Shape::kLanes; batch += Shape::kBatch) {
      Vec16 pieces[Shape::kBatch];
      PRECIS_UNROLL
      for (int i = 0; i < Shape::kBatch; ++i) pieces[i] = LoadPiece<Shape>(w, w.values, pages, 0, batch + i, used);
      PRECIS_UNROLL
      for (int i = 0; i < Shape::kBatch; ++i) {
        const float of_key = ShuffleIdx(weight, lane / Shape::kLanes * Shape::kLanes + batch + i);
        float x[Shape::kVector];
        Unpack<T>(pieces[i], x);
        PRECIS_UNROLL
        for (int v = 0; v < Shape::kVector; ++v) output[v] = Fma(of_key, x[v], output[v]);
      }
    }
  }
  PRECIS_UNROLL
  for (int mask = Shape::kLanes; mask < 32; mask *= 2) {
    PRECIS_UNROLL
    for (int v = 0; v < Shape::kVector; ++v) output[v] += ShuffleXor(output[v], mask);
  }
  float* outputs = reinterpret_cast<float*>(DynamicShared());  // [kWarps][kHeadDim]
  if (lane < Shape::kVectors) {
    PRECIS_UNROLL
    for (int v = 0; v < Shape::kVector; ++v) outputs[warp * kHeadDim + lane * Shape::kVector + v] = output[v];
  }
  SyncThreads();
  if (thread >= kHeadDim) return;
  float sum = 0;
  PRECIS_UNROLL
  for (int i = 0; i < kWarps; ++i) sum += outputs[i * kHeadDim + thread];
  StoreElement(reinterpret_cast<T*>(p.output + p.rows.query_begin[sequence] * p.output_stride) + head * kHeadDim + thread, sum);
}

template <class T>
void LaunchDecode(const GpuAttentionArgs& args, Stream stream) {
  const GpuSequences& s = args.sequences;
  const PrefillParams p = MakePrefillParams(args, static_cast<int>(sizeof(T)));
  const ScoreMatrix scores = MakeScoreMatrix(args.workspace, s.max_context, static_cast<int>(sizeof(T)), 0, s.count);
  DispatchHeadDim(args.cache.head_dim, [&](auto dim) {
    constexpr int kHeadDim = decltype(dim)::value;
    LaunchConfig config;
    config.grid.x = args.cache.heads;
    config.grid.y = CeilDiv(s.max_context, kThreads);
    config.grid.z = s.count;
    config.block.x = kThreads;
    config.stream = stream;
    config.dependent = true;
    Launch(DecodeScoresKernel<T, kHeadDim>, config, p, scores);
    StandardSoftmax(p, scores, args, false, stream);
    config.grid.y = s.count;
    config.grid.z = 1;
    config.shared_bytes = kWarps * kHeadDim * 4;
    Launch(DecodeWeightedSumKernel<T, kHeadDim>, config, p, scores);
  });
}

}  // namespace

void StandardDecode(const GpuAttentionArgs& args, Stream stream) {
  if (args.sequences.count == 0 || args.sequences.max_context == 0) return;
  if (args.cache.type == GpuType::kF32) {
    LaunchDecode<float>(args, stream);
  } else {
    LaunchDecode<Bf16>(args, stream);
  }
}

}  // namespace precis::kernels::PRECIS_GPU_NS
