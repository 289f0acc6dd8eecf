#ifndef PRECIS_KERNELS_CUDA_ATTENTION_FLASH_DECODE_KERNEL_H_
#define PRECIS_KERNELS_CUDA_ATTENTION_FLASH_DECODE_KERNEL_H_

// Attention of one new token a sequence over its paged cache: split-KV. A block takes one (sequence, head, split of 256 keys); its warps take equal runs of
// keys, each 32 keys at a time: `kLanes` lanes share a key (16 bytes each), so 32 / kLanes keys come with one load of the warp and kLanes loads bring all 32;
// a transposing reduction leaves one score a lane. Partial results
// (maximum, sum, output) are joined in order: warps of a block through shared memory, splits by the last block of the head to finish, or by a second launch where
// there are no counters. Splits stand at absolute positions and every order is fixed, so a row's bits don't depend on the batch.

#include "kernels/cuda/attention/attention_common.h"
#include "kernels/cuda/attention/decode_warp.h"
#include "kernels/cuda/block_reduce.h"
#include "kernels/cuda/platform/launch.h"
#include "kernels/cuda/platform/platform.h"

namespace precis::kernels::PRECIS_GPU_NS {

constexpr int kJoinThreads = 128;  // of the second launch

// What was tuned by measurement. Another number of warps gives other bits.
template <int kWarpCount, int kBlocks>
struct DecodeTuning {
  static constexpr int kWarps = kWarpCount;  // of a block, which takes one split
  // That a multiprocessor must have room for: bounds the registers. Code for sm_80 would spill in 128.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
  static constexpr int kMinBlocks = kBlocks < 3 ? kBlocks : 3;
#else
  static constexpr int kMinBlocks = kBlocks;
#endif
  static constexpr int kThreads = 32 * kWarps;
  static constexpr int kWarpKeys = kDecodeSplit / kWarps;
};

// Floats of a partial result: output, maximum (in log2 units), sum, padding to 16 bytes.
PRECIS_HOST_DEVICE constexpr int PartialFloats(int head_dim) { return head_dim + 4; }

struct DecodeParams {
  const char* q;
  int64_t q_stride;  // bytes
  char* output;
  int64_t output_stride;  // bytes
  float* log_sum_exp;
  int64_t log_sum_exp_stride;
  PagedKv kv;
  BatchRows rows;
  int heads;
  int splits;  // of the longest context that the grid covers
  float scale_log2;
  const float* slopes;  // or null
  float* partials;      // [sequence][head][splits][PartialFloats]
  unsigned* counters;   // [sequence][head], zero, or null
  int early;            // only_last_is_new
};

// Joins partial results in order: result i has its maximum at maxima[i * stride], its sum at sums[i * stride], element `column` of its output at
// outputs[i * stride]. The first result's maximum is finite.
struct Joined {
  float maximum, sum, output;
};
PRECIS_DEVICE Joined Join(const float* maxima, const float* sums, const float* outputs, int count, int scalar_stride, int output_stride) {
  Joined joined{maxima[0], 0, 0};
  for (int i = 1; i < count; ++i) joined.maximum = Maximum(joined.maximum, maxima[i * scalar_stride]);
  for (int i = 0; i < count; ++i) {
    const float weight = Exp2(maxima[i * scalar_stride] - joined.maximum);
    joined.sum = Fma(weight, sums[i * scalar_stride], joined.sum);
    joined.output = Fma(weight, outputs[i * output_stride], joined.output);
  }
  return joined;
}

template <class T>
PRECIS_DEVICE void StoreRow(const DecodeParams& p, int row, int head, int head_dim, int column, const Joined& joined) {
  T* out = reinterpret_cast<T*>(p.output + row * p.output_stride) + head * head_dim + column;
  StoreElement(out, joined.output / joined.sum);
  if (p.log_sum_exp != nullptr && column == 0) {
    p.log_sum_exp[head * p.log_sum_exp_stride + row] = joined.maximum * kLn2 + Log(joined.sum);
  }
}

// Joins all splits of (sequence, head) into the output.
template <class T, int kHeadDim, int kThreads>
PRECIS_DEVICE void JoinSplits(const DecodeParams& p, int sequence, int head, int splits) {
  constexpr int kFloats = PartialFloats(kHeadDim);
  const float* first = p.partials + static_cast<int64_t>(sequence * p.heads + head) * p.splits * kFloats;
  for (int column = static_cast<int>(threadIdx.x); column < kHeadDim; column += kThreads) {
    const Joined joined = Join(first + kHeadDim, first + kHeadDim + 1, first + column, splits, kFloats, kFloats);
    StoreRow<T>(p, p.rows.query_begin[sequence], head, kHeadDim, column, joined);
  }
}

// What a warp has loaded before its loop: the first kBatch keys and values of its first step.
template <class Shape>
struct FirstPieces {
  Vec16 keys[Shape::kBatch], values[Shape::kBatch];
};

// Loads `kBatch` pieces from the `index`-th of a step on.
template <class Shape>
PRECIS_DEVICE void LoadBatch(Vec16 (&pieces)[Shape::kBatch], const WarpKeys& w, const char* part, const StepPages& pages, int step, int index, bool used) {
  PRECIS_UNROLL
  for (int i = 0; i < Shape::kBatch; ++i) pieces[i] = LoadPiece<Shape>(w, part, pages, step, index + i, used);
}

// This warp's keys: leaves its maximum, its sum and, in lanes below kVectors, its output. Registers of keys are loaded again as soon as their products are
// taken, those of values likewise, so that loads are always under way.
template <class T, int kHeadDim, int kSteps>
PRECIS_DEVICE void WarpAttention(const WarpKeys& w, FirstPieces<DecodeShape<T, kHeadDim>>& first, const float (&q)[kPerVector<T>], float slope, float& maximum,
                                 float& sum, float (&output)[kPerVector<T>]) {
  using Shape = DecodeShape<T, kHeadDim>;
  constexpr int kLanes = Shape::kLanes, kBatch = Shape::kBatch, kVector = Shape::kVector;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const bool used = lane % kLanes < Shape::kVectors;
  StepPages pages = PagesOfStep(w, 0);
  Vec16 (&keys)[kBatch] = first.keys, (&values)[kBatch] = first.values;
  for (int step = 0; step < kSteps; ++step) {
    if (w.first + step * 32 >= w.context) break;
    const StepPages next_pages = step + 1 < kSteps ? PagesOfStep(w, step + 1) : pages;
    float scores[kLanes];
    PRECIS_UNROLL
    for (int batch = 0; batch < kLanes; batch += kBatch) {
      PRECIS_UNROLL
      for (int i = 0; i < kBatch; ++i) {
        float k[kVector];
        Unpack<T>(keys[i], k);
        float dot = 0;
        PRECIS_UNROLL
        for (int v = 0; v < kVector; ++v) dot = Fma(q[v], k[v], dot);
        scores[batch + i] = dot;
      }
      if (batch + kBatch < kLanes) {
        LoadBatch<Shape>(keys, w, w.keys, pages, step, batch + kBatch, used);
      } else if (step + 1 < kSteps) {
        LoadBatch<Shape>(keys, w, w.keys, next_pages, step + 1, 0, used);
      }
    }
    const int key = w.first + step * 32 + KeyOfLane<Shape>(lane);
    float score = TransposingSum<kLanes>(scores, lane);
    score = Fma(slope, static_cast<float>(key - (w.context - 1)), score);
    if (key >= w.context) score = NegativeInfinity();
    const float larger = Maximum(maximum, WarpMax(score));
    const float shrink = Exp2(maximum - larger);
    const float weight = Exp2(score - larger);
    maximum = larger;
    sum = Fma(sum, shrink, weight);
    PRECIS_UNROLL
    for (int v = 0; v < kVector; ++v) output[v] *= shrink;
    PRECIS_UNROLL
    for (int batch = 0; batch < kLanes; batch += kBatch) {
      PRECIS_UNROLL
      for (int i = 0; i < kBatch; ++i) {
        const float of_key = ShuffleIdx(weight, lane / kLanes * kLanes + batch + i);
        float x[kVector];
        Unpack<T>(values[i], x);
        PRECIS_UNROLL
        for (int v = 0; v < kVector; ++v) output[v] = Fma(of_key, x[v], output[v]);
      }
      if (batch + kBatch < kLanes) {
        LoadBatch<Shape>(values, w, w.values, pages, step, batch + kBatch, used);
      } else if (step + 1 < kSteps) {
        LoadBatch<Shape>(values, w, w.values, next_pages, step + 1, 0, used);
      }
    }
    pages = next_pages;
  }
  sum = WarpSum(sum);
  PRECIS_UNROLL
  for (int mask = kLanes; mask < 32; mask *= 2) {
    PRECIS_UNROLL
    for (int v = 0; v < kVector; ++v) output[v] += ShuffleXor(output[v], mask);
  }
}

// The first pieces of a warp. With `early` first without the context's last key, which may not be there yet, then, late, that one alone.
template <class Shape>
PRECIS_DEVICE void LoadFirst(FirstPieces<Shape>& first, WarpKeys w, bool used, bool early) {
  if (early) w.context -= 1;
  const StepPages pages = PagesOfStep(w, 0);
  LoadBatch<Shape>(first.keys, w, w.keys, pages, 0, 0, used);
  LoadBatch<Shape>(first.values, w, w.values, pages, 0, 0, used);
}
template <class Shape>
PRECIS_DEVICE void LoadLast(FirstPieces<Shape>& first, const WarpKeys& w, bool used) {
  const StepPages pages = PagesOfStep(w, 0);
  const int lane = static_cast<int>(threadIdx.x) % 32;
  PRECIS_UNROLL
  for (int i = 0; i < Shape::kBatch; ++i) {
    if (w.first + i * Shape::kGroups + lane / Shape::kLanes != w.context - 1) continue;
    first.keys[i] = LoadPiece<Shape>(w, w.keys, pages, 0, i, used);
    first.values[i] = LoadPiece<Shape>(w, w.values, pages, 0, i, used);
  }
}

template <class T, int kHeadDim, class Tuning>
PRECIS_KERNEL(Tuning::kThreads, Tuning::kMinBlocks) FlashDecodeKernel(const DecodeParams p) {
  using Shape = DecodeShape<T, kHeadDim>;
  constexpr int kWarps = Tuning::kWarps, kWarpKeys = Tuning::kWarpKeys;
  constexpr int kRowBytes = kHeadDim * static_cast<int>(sizeof(T));
  const bool early = p.early != 0;
  if (!early) GridDependencyWait();
  GridDependencyLaunch();
  const int head = static_cast<int>(blockIdx.x), split = static_cast<int>(blockIdx.y), sequence = static_cast<int>(blockIdx.z);
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp = thread / 32;
  const int context = p.rows.query_count[sequence] > 0 ? p.rows.context_length[sequence] : 0;
  if (split * kDecodeSplit >= context) {
    if (early) GridDependencyWait();
    return;
  }
  const int row = p.rows.query_begin[sequence];

  WarpKeys w;
  w.first = split * kDecodeSplit + warp * kWarpKeys;
  w.context = context;
  w.page_stride = p.kv.page_stride;
  w.pages = LoadPageIds(p.rows, sequence, w.first, kWarpKeys / kTokensPerPage, context);
  const int piece = lane % Shape::kLanes * 16;
  w.keys = p.kv.keys + head * (kTokensPerPage * kRowBytes) + piece;
  w.values = p.kv.values + head * (kTokensPerPage * kRowBytes) + piece;
  const float slope = p.slopes != nullptr ? p.slopes[head] * kLog2E : 0.0f;
  const bool used = lane % Shape::kLanes < Shape::kVectors;
  FirstPieces<Shape> first;
  LoadFirst<Shape>(first, w, used, early);
  if (early) {
    GridDependencyWait();
    LoadLast<Shape>(first, w, used);
  }

  float q[Shape::kVector] = {};
  if (used) {
    Unpack<T>(Load16(p.q + row * p.q_stride + head * kRowBytes + piece), q);
    PRECIS_UNROLL
    for (int v = 0; v < Shape::kVector; ++v) q[v] *= p.scale_log2;
  }
  float maximum = NegativeInfinity(), sum = 0, output[Shape::kVector] = {};
  WarpAttention<T, kHeadDim, kWarpKeys / 32>(w, first, q, slope, maximum, sum, output);

  float* outputs = reinterpret_cast<float*>(DynamicShared());  // [kWarps][kHeadDim]
  float* maxima = outputs + kWarps * kHeadDim;
  float* sums = maxima + kWarps;
  if (lane < Shape::kVectors) {
    PRECIS_UNROLL
    for (int v = 0; v < Shape::kVector; ++v) outputs[warp * kHeadDim + lane * Shape::kVector + v] = output[v];
  }
  if (lane == 0) {
    maxima[warp] = maximum;
    sums[warp] = sum;
  }
  SyncThreads();

  const int splits = CeilDiv(context, kDecodeSplit);
  float* partial = p.partials + (static_cast<int64_t>(sequence * p.heads + head) * p.splits + split) * PartialFloats(kHeadDim);
  for (int column = thread; column < kHeadDim; column += Tuning::kThreads) {
    const Joined joined = Join(maxima, sums, outputs + column, kWarps, 1, kHeadDim);
    if (splits == 1) {
      StoreRow<T>(p, row, head, kHeadDim, column, joined);
      continue;
    }
    partial[column] = joined.output;
    if (column == 0) {
      partial[kHeadDim] = joined.maximum;
      partial[kHeadDim + 1] = joined.sum;
    }
  }
  if (splits == 1 || p.counters == nullptr) return;

  ThreadFence();
  int* last = reinterpret_cast<int*>(sums + kWarps);
  SyncThreads();
  if (thread == 0) {
    unsigned* counter = p.counters + sequence * p.heads + head;
    *last = AtomicAdd(counter, 1u) == static_cast<unsigned>(splits - 1);
    if (*last) *counter = 0;
  }
  SyncThreads();
  if (*last == 0) return;
  ThreadFence();
  JoinSplits<T, kHeadDim, Tuning::kThreads>(p, sequence, head, splits);
}

// The second launch, where there are no counters.
template <class T, int kHeadDim>
PRECIS_KERNEL(kJoinThreads, 1) JoinSplitsKernel(const DecodeParams p) {
  GridDependencyWait();
  GridDependencyLaunch();
  const int head = static_cast<int>(blockIdx.x), sequence = static_cast<int>(blockIdx.y);
  const int context = p.rows.query_count[sequence] > 0 ? p.rows.context_length[sequence] : 0;
  if (context <= kDecodeSplit) return;
  JoinSplits<T, kHeadDim, kJoinThreads>(p, sequence, head, CeilDiv(context, kDecodeSplit));
}

inline DecodeParams MakeDecodeParams(const GpuAttentionArgs& args, int element_bytes) {
  DecodeParams p;
  p.q = static_cast<const char*>(args.qkv);
  p.q_stride = args.qkv_stride * element_bytes;
  p.output = static_cast<char*>(args.output);
  p.output_stride = args.output_stride * element_bytes;
  p.log_sum_exp = args.log_sum_exp;
  p.log_sum_exp_stride = args.qkv_rows;
  p.kv = MakePagedKv(args.cache);
  p.rows = MakeBatchRows(args.sequences);
  p.heads = args.cache.heads;
  p.splits = CeilDiv(args.sequences.max_context, kDecodeSplit);
  p.scale_log2 = args.scale * kLog2E;
  p.slopes = args.alibi_slopes;
  p.partials = static_cast<float*>(args.workspace);
  p.counters = args.decode_counters;
  p.early = args.only_last_is_new ? 1 : 0;
  return p;
}

template <class T, int kHeadDim, class Tuning>
inline void LaunchDecode(const GpuAttentionArgs& args, Stream stream) {
  const DecodeParams p = MakeDecodeParams(args, static_cast<int>(sizeof(T)));
  LaunchConfig config;
  config.grid.x = p.heads;
  config.grid.y = p.splits;
  config.grid.z = args.sequences.count;
  config.block.x = Tuning::kThreads;
  config.shared_bytes = Tuning::kWarps * (kHeadDim + 2) * 4 + 16;
  config.stream = stream;
  config.dependent = true;
  Launch(FlashDecodeKernel<T, kHeadDim, Tuning>, config, p);
  if (p.counters != nullptr || p.splits == 1) return;
  config.grid.y = args.sequences.count;
  config.grid.z = 1;
  config.block.x = kJoinThreads;
  config.shared_bytes = 0;
  Launch(JoinSplitsKernel<T, kHeadDim>, config, p);
}

}  // namespace precis::kernels::PRECIS_GPU_NS

#endif  // PRECIS_KERNELS_CUDA_ATTENTION_FLASH_DECODE_KERNEL_H_
