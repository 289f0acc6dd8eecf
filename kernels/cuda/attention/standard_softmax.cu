// Mask, scale, ALiBi bias and softmax (and its log-sum-exp, if asked for) over the rows of a score matrix in memory, fused: one warp a row, 16 bytes a lane, three passes (largest, sum, write).

#include "kernels/cuda/attention/standard.h"

namespace precis::kernels::PRECIS_GPU_NS {
namespace {

constexpr int kWarps = 8;
constexpr int kRows = 32;  // of a block

// Exponent of two of a score: scale and bias; minus infinity where the row may not look.
PRECIS_DEVICE float ExponentOf(float score, float scale, float slope, int column, int position) {
  return column <= position ? Fma(slope, static_cast<float>(column - position), score * scale) : NegativeInfinity();
}

// Returns the logarithm of the sum of the exponentials.
template <class T>
PRECIS_DEVICE float SoftmaxRow(T* row, int position, int end, float scale, float slope) {
  constexpr int kVector = kPerVector<T>;
  const int first = static_cast<int>(threadIdx.x) % 32 * kVector;
  float largest = NegativeInfinity();
  for (int c = first; c <= position; c += 32 * kVector) {
    float v[kVector];
    LoadVector(row + c, v);
    PRECIS_UNROLL
    for (int i = 0; i < kVector; ++i) largest = Maximum(largest, ExponentOf(v[i], scale, slope, c + i, position));
  }
  largest = WarpMax(largest);
  float sum = 0;
  for (int c = first; c <= position; c += 32 * kVector) {
    float v[kVector];
    LoadVector(row + c, v);
    PRECIS_UNROLL
    for (int i = 0; i < kVector; ++i) sum += Exp2(ExponentOf(v[i], scale, slope, c + i, position) - largest);
  }
  sum = WarpSum(sum);
  const float factor = 1.0f / sum;
  for (int c = first; c < end; c += 32 * kVector) {
    float v[kVector] = {};
    if (c <= position) LoadVector(row + c, v);
    PRECIS_UNROLL
    for (int i = 0; i < kVector; ++i) v[i] = Exp2(ExponentOf(v[i], scale, slope, c + i, position) - largest) * factor;
    StoreVector(row + c, v);
  }
  return largest * kLn2 + Log(sum);
}

template <class T>
PRECIS_KERNEL(kWarps * 32, 2) StandardSoftmaxKernel(const PrefillParams p, const ScoreMatrix scores, const int whole_rows) {
  GridDependencyWait();
  GridDependencyLaunch();
  const int head = static_cast<int>(blockIdx.x), sequence = static_cast<int>(blockIdx.y);
  QueryTile t = MakeQueryTile(p, sequence, static_cast<int>(blockIdx.z), kRows);
  CutToChunk(t, p, scores, sequence);
  const int context = p.rows.context_length[sequence];
  const float slope = p.slopes != nullptr ? p.slopes[head] * kLog2E : 0.0f;
  for (int r = t.begin + static_cast<int>(threadIdx.x) / 32; r < t.end; r += kWarps) {
    const int position = t.position + r;
    const int block_end = (position / kStandardRows + 1) * kStandardRows;
    const int end = CeilDiv(block_end < context && whole_rows == 0 ? block_end : context, kScoreTile) * kScoreTile;
    T* row = reinterpret_cast<T*>(ScoreRow(scores, head, t) + r * scores.row_bytes);
    const float log_sum_exp = SoftmaxRow(row, position, end, p.scale_log2, slope);
    if (p.log_sum_exp != nullptr && threadIdx.x % 32 == 0) p.log_sum_exp[head * p.log_sum_exp_stride + t.first_row + r] = log_sum_exp;
  }
}

}  // namespace

void StandardSoftmax(const PrefillParams& p, const ScoreMatrix& scores, const GpuAttentionArgs& args, bool whole_rows, Stream stream) {
  LaunchConfig config;
  config.grid.x = args.cache.heads;
  config.grid.y = args.sequences.count;
  config.grid.z = CeilDiv(args.sequences.max_context, kRows);
  config.block.x = kWarps * 32;
  config.stream = stream;
  config.dependent = true;
  if (args.cache.type == GpuType::kF32) {
    Launch(StandardSoftmaxKernel<float>, config, p, scores, whole_rows ? 1 : 0);
  } else {
    Launch(StandardSoftmaxKernel<Bf16>, config, p, scores, whole_rows ? 1 : 0);
  }
}

}  // namespace precis::kernels::PRECIS_GPU_NS
