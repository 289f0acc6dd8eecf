#ifndef PRECIS_KERNELS_BACKWARD_FLASH_BACKWARD_Q_H_
#define PRECIS_KERNELS_BACKWARD_FLASH_BACKWARD_Q_H_

// dQ alone, without atomic additions: one block owns a run of queries and walks the keys that they see, in order.
//
//   S = Q K^T   P = exp(S - lse)   dP = dO V^T   dS = P (dP - delta)   dQ += dS K

#include "kernels/backward/flash_backward_tile.h"
#include "kernels/cuda/fragments.h"

namespace precis::kernels::PRECIS_GPU_NS {

template <int kHeadDim_>
struct BackwardQShape {
  static constexpr int kHeadDim = kHeadDim_;
  static constexpr int kWarps = 4;
  static constexpr int kThreads = 32 * kWarps;
  static constexpr int kQueries = 16 * kWarps;
  static constexpr int kKeys = 32;
  using QueryTile = SharedTile<kQueries, kHeadDim>;
  using KeyTile = SharedTile<kKeys, kHeadDim>;
  static constexpr int kSharedBytes = 2 * QueryTile::kBytes + 4 * KeyTile::kBytes;
};

template <class Shape, class Score>
class BackwardQ {
 public:
  static constexpr int kHeadDim = Shape::kHeadDim, kKeys = Shape::kKeys, kThreads = Shape::kThreads;
  static constexpr int kKTiles = kKeys / 8, kDTiles = kHeadDim / 8;

  PRECIS_DEVICE BackwardQ(const FlashBackwardArgs& args, int head, int sequence, int query0)
      : a_(args), head_(args, head, sequence), score_(args, head), query0_(query0) {
    char* shared = DynamicShared();
    queries_.data = reinterpret_cast<Bf16*>(shared);
    d_output_.data = reinterpret_cast<Bf16*>(shared + Shape::QueryTile::kBytes);
    shared += 2 * Shape::QueryTile::kBytes;
    stages_ = shared;
  }

  PRECIS_DEVICE void Run() {
    const int length = head_.length;
    if (query0_ >= length) return;
    CopyTile<kThreads>(queries_, head_.q, a_.qkv_stride, query0_, length);
    CopyTile<kThreads>(d_output_, head_.d_output, a_.output_stride, query0_, length);
    LoadRows();
    const int last = query0_ + Shape::kQueries < length ? query0_ + Shape::kQueries : length;  // keys below it are seen
    int stage = 0;
    Prefetch(0, stage);
    for (int key0 = 0; key0 < last; key0 += kKeys, stage ^= 1) {
      if (key0 + kKeys < last) {
        Prefetch(key0 + kKeys, stage ^ 1);
        CpAsyncWait<1>();
      } else {
        CpAsyncWait<0>();
      }
      SyncThreads();
      Step(key0, stage);
      SyncThreads();
    }
    Store();
  }

 private:
  using Accumulators = float[kKTiles][4];

  PRECIS_DEVICE void Prefetch(int key0, int stage) {
    CopyTile<kThreads>(Keys(stage), head_.k, a_.qkv_stride, key0, head_.length);
    CopyTile<kThreads>(Values(stage), head_.v, a_.qkv_stride, key0, head_.length);
    CpAsyncCommit();
  }

  PRECIS_DEVICE void LoadRows() {
    PRECIS_UNROLL
    for (int half = 0; half < 2; ++half) {
      const int query = Query(half);
      lse_[half] = query < head_.length ? head_.log_sum_exp[query] * kBackwardLog2e : 0.0f;
      delta_[half] = query < head_.length ? head_.delta[query] : 0.0f;
    }
  }

  PRECIS_DEVICE void OverDimensions(Accumulators& sum, const typename Shape::QueryTile& rows, const typename Shape::KeyTile& columns) {
    PRECIS_UNROLL
    for (int k = 0; k < kHeadDim; k += 16) {
      uint32_t a[4];
      LoadA(a, rows, threadIdx.x / 32 * 16, k);
      PRECIS_UNROLL
      for (int n = 0; n < kKTiles; n += 2) {
        uint32_t b[4];
        LoadB(b, columns, n * 8, k);
        MmaPair(sum[n], sum[n + 1], a, b);
      }
    }
  }

  PRECIS_DEVICE void Step(int key0, int stage) {
    Accumulators p = {}, ds = {};
    OverDimensions(p, queries_, Keys(stage));
    OverDimensions(ds, d_output_, Values(stage));
    const int lane = threadIdx.x % 32;
    PRECIS_UNROLL
    for (int n = 0; n < kKTiles; ++n) {
      PRECIS_UNROLL
      for (int i = 0; i < 4; ++i) {
        const int key = key0 + n * 8 + lane % 4 * 2 + i % 2;
        const float share = Probability(score_, p[n][i], lse_[i / 2], key, Query(i / 2), head_.length);
        ds[n][i] = share * (ds[n][i] - delta_[i / 2]);
      }
    }
    PRECIS_UNROLL
    for (int j = 0; j < kKTiles; j += 2) {
      uint32_t a[4];
      PackA(a, ds[j], ds[j + 1]);
      PRECIS_UNROLL
      for (int n = 0; n < kDTiles; n += 2) {
        uint32_t b[4];
        LoadBTransposed(b, Keys(stage), n * 8, j * 8);
        MmaPair(dq_[n], dq_[n + 1], a, b);
      }
    }
  }

  PRECIS_DEVICE void Store() {
    PRECIS_UNROLL
    for (int half = 0; half < 2; ++half) {
      const int64_t query = Query(half);
      if (query >= head_.length) continue;
      PRECIS_UNROLL
      for (int n = 0; n < kDTiles; ++n) {
        const float* dq = dq_[n] + 2 * half;
        *reinterpret_cast<uint32_t*>(head_.dq + query * a_.qkv_stride + n * 8 + threadIdx.x % 4 * 2) =
            PackBf16(dq[0] * a_.scale, dq[1] * a_.scale);
      }
    }
  }

  PRECIS_DEVICE typename Shape::KeyTile Keys(int stage) const {
    return {reinterpret_cast<Bf16*>(stages_ + stage * 2 * Shape::KeyTile::kBytes)};
  }
  PRECIS_DEVICE typename Shape::KeyTile Values(int stage) const {
    return {reinterpret_cast<Bf16*>(stages_ + (stage * 2 + 1) * Shape::KeyTile::kBytes)};
  }
  // The sequence's row that accumulators 0, 1 (half 0) or 2, 3 (half 1) of this thread belong to.
  PRECIS_DEVICE int Query(int half) const { return query0_ + threadIdx.x / 32 * 16 + threadIdx.x % 32 / 4 + half * 8; }

  const FlashBackwardArgs& a_;
  const BackwardHead<Bf16> head_;
  const Score score_;
  const int query0_;
  typename Shape::QueryTile queries_, d_output_;
  char* stages_;  // two of K and V
  float lse_[2], delta_[2];
  float dq_[kDTiles][4] = {};
};

template <class Shape, class Score>
PRECIS_KERNEL(Shape::kThreads, 2) FlashBackwardQKernel(const PRECIS_GRID_CONSTANT FlashBackwardArgs args) {
  // Late queries see the most keys: the longest blocks come first.
  const int block = gridDim.x - 1 - blockIdx.x;
  BackwardQ<Shape, Score>(args, blockIdx.y, blockIdx.z, block * Shape::kQueries).Run();
}

}  // namespace precis::kernels::PRECIS_GPU_NS

#endif  // PRECIS_KERNELS_BACKWARD_FLASH_BACKWARD_Q_H_
