#ifndef PRECIS_KERNELS_BACKWARD_SM90_REACH_H_
#define PRECIS_KERNELS_BACKWARD_SM90_REACH_H_

// ALiBi's reach in the backward pass (attention_sm90/reach.h has the idea): pairs whose probability is at most 2^-80 by the bound
//
//   log P(i, j) <= scale |q_i| |k_j| - slope (i - j) - logsumexp_i
//
// add nothing that would survive rounding to any gradient, so tiles of nothing but such pairs are left out. The longest query and key and the smallest
// log-sum-exp are kept for each 64 rows of the batch, wherever sequences begin; a tile takes them from the two that it touches.

#include "kernels/backward/sm90/layout.h"
#include "kernels/cuda/attention_sm90/reach.h"

#ifdef PRECIS_SM90_CODE
namespace precis::kernels::PRECIS_GPU_NS::sm90 {

// Of a run of rows, at most so much.
struct RowBounds {
  float query, key, log_sum_exp;
};

// [3][heads][chunks]
PRECIS_DEVICE const float* BoundsOf(const FlashBackwardArgs& args) {
  return static_cast<const float*>(args.workspace) + int64_t{args.heads} * args.rows;
}

// Of rows first .. first + count - 1 of the batch, as far as there are any.
PRECIS_DEVICE RowBounds BoundsOf(const FlashBackwardArgs& args, int head, int first, int count) {
  RowBounds bounds = {0.0f, 0.0f, kFloatMax};
  const int stride = args.heads * BoundChunks(args.rows), last = (Min(first + count, args.rows) - 1) / kStreamRows;
  PRECIS_NO_UNROLL
  for (int chunk = first / kStreamRows; chunk <= last; ++chunk) {
    const float* at = BoundsOf(args) + head * BoundChunks(args.rows) + chunk;
    bounds.query = fmaxf(bounds.query, at[0]);
    bounds.key = fmaxf(bounds.key, at[stride]);
    bounds.log_sum_exp = fminf(bounds.log_sum_exp, at[2 * stride]);
  }
  return bounds;
}

// The end of an item's tiles (kKeys), or the first of them. By all lanes of a warp; the same in each. One side's share of the bound is that of the item's rows.
template <bool kKeys>
PRECIS_DEVICE int Reached(const FlashBackwardArgs& args, const BackwardItem& item, int lane) {
  const int first_row = item.own * kOwnRows, rows = item.groups * kOwnRows;
  const RowBounds mine = BoundsOf(args, item.head, item.begin + first_row, rows);
  const float factor = args.scale * (kKeys ? mine.key : mine.query), slope = args.alibi_slopes[item.head];
  const float rest = kReachMargin - (kKeys ? 0.0f : mine.log_sum_exp);
  int reached = kKeys ? Min(item.first + item.groups, item.end) : item.own;  // the own rows' tiles stay
  PRECIS_NO_UNROLL
  for (int tile = item.first + lane; tile < item.end; tile += 32) {
    const RowBounds theirs = BoundsOf(args, item.head, item.begin + tile * kStreamRows, kStreamRows);
    const int distance = kKeys ? tile * kStreamRows - (first_row + rows - 1) : first_row - (tile * kStreamRows + kStreamRows - 1);
    const float most = Fma(factor, kKeys ? theirs.query : theirs.key, kKeys ? rest - theirs.log_sum_exp : rest);
    if (!(most < slope * static_cast<float>(distance))) reached = kKeys ? Max(reached, tile + 1) : Min(reached, tile);
  }
  PRECIS_NO_UNROLL
  for (int mask = 16; mask > 0; mask /= 2) {
    const int other = ShuffleXor(reached, mask);
    reached = kKeys ? Max(reached, other) : Min(reached, other);
  }
  return reached;
}

// Block (chunk, head). Rows of nobody's may come along: they only loosen a bound.
PRECIS_KERNEL(kNormThreads, 8) RowBoundsSm90(const PRECIS_GRID_CONSTANT FlashBackwardArgs args) {
  GridDependencyWait();
  GridDependencyLaunch();
  const int chunk = static_cast<int>(blockIdx.x), head = static_cast<int>(blockIdx.y);
  const int thread = static_cast<int>(threadIdx.x), warp = thread / 32, width = args.heads * kHeadDim;
  float* shared = reinterpret_cast<float*>(DynamicShared());  // [3][warps]
  float bounds[3];
  PRECIS_UNROLL
  for (int part = 0; part < 2; ++part) {
    bounds[part] = LongestRow<kStreamRows>([&](int i) -> const char* {
      const int row = chunk * kStreamRows + i;
      if (row >= args.rows) return nullptr;
      return reinterpret_cast<const char*>(static_cast<const Bf16*>(args.qkv) + row * args.qkv_stride + part * width + head * kHeadDim);
    });
  }
  const int row = chunk * kStreamRows + thread;
  const float log_sum_exp = thread < kStreamRows && row < args.rows ? args.log_sum_exp[head * args.lse_stride + row] : kFloatMax;
  bounds[2] = log_sum_exp >= -kFloatMax ? log_sum_exp : -kFloatMax;  // a NaN reaches everything
  PRECIS_UNROLL
  for (int mask = 1; mask < 32; mask *= 2) {
    PRECIS_UNROLL
    for (int part = 0; part < 3; ++part) {
      const float other = ShuffleXor(bounds[part], mask);
      bounds[part] = part < 2 ? fmaxf(bounds[part], other) : fminf(bounds[part], other);
    }
  }
  if (thread % 32 == 0) {
    PRECIS_UNROLL
    for (int part = 0; part < 3; ++part) shared[part * (kNormThreads / 32) + warp] = bounds[part];
  }
  SyncThreads();
  if (thread >= 3) return;
  float result = shared[thread * (kNormThreads / 32)];
  for (int i = 1; i < kNormThreads / 32; ++i) {
    const float other = shared[thread * (kNormThreads / 32) + i];
    result = thread < 2 ? fmaxf(result, other) : fminf(result, other);
  }
  if (thread < 2) result = NormOf(result);
  const_cast<float*>(BoundsOf(args))[(thread * args.heads + head) * BoundChunks(args.rows) + chunk] = result;
}

}  // namespace precis::kernels::PRECIS_GPU_NS::sm90
#endif  // PRECIS_SM90_CODE

#endif  // PRECIS_KERNELS_BACKWARD_SM90_REACH_H_
