#ifndef PRECIS_KERNELS_BACKWARD_FLASH_BACKWARD_KV_H_
#define PRECIS_KERNELS_BACKWARD_FLASH_BACKWARD_KV_H_

// dK and dV (and dQ by atomic additions): one block owns a run of keys and walks the queries that see them.
//
//   S^T = K Q^T        P^T = exp(S^T - lse)       dV += P^T dO
//   dP^T = V dO^T      dS^T = P^T (dP^T - delta)  dK += dS^T Q       dQ += dS K
//
// Keys are the rows of every product, so P^T and dS^T go from accumulators to operands in registers; only dQ, which sums over the keys of all warps,
// takes dS through shared memory. A warp owns 16 * kMTiles keys and reads each query fragment once for all of them.

#include <new>

#include "kernels/backward/flash_backward_tile.h"
#include "kernels/cuda/fragments.h"

namespace precis::kernels::PRECIS_GPU_NS {

template <int kHeadDim_, int kMTiles_>
struct BackwardKvShape {
  static constexpr int kHeadDim = kHeadDim_;
  static constexpr int kMTiles = kMTiles_;
  static constexpr int kWarps = 4;
  static constexpr int kThreads = 32 * kWarps;
  static constexpr int kKeys = 16 * kMTiles * kWarps;
  static constexpr int kQueries = 32;
  using KeyTile = SharedTile<kKeys, kHeadDim>;
  using QueryTile = SharedTile<kQueries, kHeadDim>;
  using ScoreTile = SharedTile<kKeys, kQueries>;
  static constexpr int kRowFloats = 2 * kQueries;  // log-sum-exp and delta of one stage
  static constexpr int kHeadOffset = 2 * KeyTile::kBytes + 4 * QueryTile::kBytes + ScoreTile::kBytes + 2 * kRowFloats * int{sizeof(float)};
  static constexpr int kSharedBytes = kHeadOffset + int{sizeof(BackwardHead<Bf16>)};
};

template <class Shape, class Score, bool kAtomicDq>
class BackwardKv {
 public:
  static constexpr int kHeadDim = Shape::kHeadDim, kMTiles = Shape::kMTiles, kKeys = Shape::kKeys, kQueries = Shape::kQueries;
  static constexpr int kThreads = Shape::kThreads;
  static constexpr int kDTiles = kHeadDim / 8, kQTiles = kQueries / 8;

  PRECIS_DEVICE BackwardKv(const FlashBackwardArgs& args, int head, int sequence, int key0)
      : a_(args), head_(*reinterpret_cast<BackwardHead<Bf16>*>(DynamicShared() + Shape::kHeadOffset)), score_(args, head), key0_(key0) {
    char* shared = DynamicShared();
    if (threadIdx.x == 0) new (shared + Shape::kHeadOffset) BackwardHead<Bf16>(args, head, sequence);
    SyncThreads();
    keys_.data = reinterpret_cast<Bf16*>(shared);
    values_.data = reinterpret_cast<Bf16*>(shared += Shape::KeyTile::kBytes);
    shared += Shape::KeyTile::kBytes;
    stages_ = shared;
    shared += 4 * Shape::QueryTile::kBytes;
    scores_.data = reinterpret_cast<Bf16*>(shared);
    rows_ = reinterpret_cast<float*>(shared + Shape::ScoreTile::kBytes);
  }

  PRECIS_DEVICE void Run() {
    const int length = head_.length;
    if (key0_ >= length) return;
    CopyTile<kThreads>(keys_, head_.k, a_.qkv_stride, key0_, length);
    CopyTile<kThreads>(values_, head_.v, a_.qkv_stride, key0_, length);
    // A tile is loaded a round before it is used. One loop for both, so that addresses are computed at one place only, for the sake of registers.
    int stage = 1;
    const int first = key0_ / kQueries * kQueries;
    for (int query0 = first - kQueries; query0 < length; query0 += kQueries, stage ^= 1) {
      const bool more = query0 + kQueries < length;
      if (more) Prefetch(query0 + kQueries, stage ^ 1);
      if (query0 < first) continue;
      if (more) {
        CpAsyncWait<1>();
      } else {
        CpAsyncWait<0>();
      }
      SyncThreads();
      Step(query0, stage);
      SyncThreads();
    }
    Store();
  }

 private:
  using Accumulators = float[kMTiles][kQTiles][4];
  using Gradients = float[kMTiles][kDTiles][4];

  PRECIS_DEVICE void Prefetch(int query0, int stage) {
    CopyTile<kThreads>(Queries(stage), head_.q, a_.qkv_stride, query0, head_.length);
    CopyTile<kThreads>(DOutput(stage), head_.d_output, a_.output_stride, query0, head_.length);
    CpAsyncCommit();
    if (threadIdx.x < kQueries) {
      const int query = query0 + threadIdx.x;
      float* rows = rows_ + stage * Shape::kRowFloats;
      const bool valid = query < head_.length;
      rows[threadIdx.x] = valid ? head_.log_sum_exp[query] * kBackwardLog2e : 0.0f;
      rows[kQueries + threadIdx.x] = valid ? head_.delta[query] : 0.0f;
    }
  }

  // sum += rows (m16 tiles of this warp's keys) x columns (queries) over the head's dimensions.
  PRECIS_DEVICE void OverDimensions(Accumulators& sum, const typename Shape::KeyTile& rows, const typename Shape::QueryTile& columns) {
    PRECIS_UNROLL
    for (int k = 0; k < kHeadDim; k += 16) {
      uint32_t a[kMTiles][4];
      PRECIS_UNROLL
      for (int m = 0; m < kMTiles; ++m) LoadA(a[m], rows, Row(m), k);
      PRECIS_UNROLL
      for (int n = 0; n < kQTiles; n += 2) {
        uint32_t b[4];
        LoadB(b, columns, n * 8, k);
        PRECIS_UNROLL
        for (int m = 0; m < kMTiles; ++m) MmaPair(sum[m][n], sum[m][n + 1], a[m], b);
      }
    }
  }

  // sum += left (keys x queries, in registers) x right (queries x dimensions).
  PRECIS_DEVICE void OverQueries(Gradients& sum, const Accumulators& left, const typename Shape::QueryTile& right) {
    PRECIS_UNROLL
    for (int j = 0; j < kQTiles; j += 2) {
      uint32_t a[kMTiles][4];
      PRECIS_UNROLL
      for (int m = 0; m < kMTiles; ++m) PackA(a[m], left[m][j], left[m][j + 1]);
      PRECIS_UNROLL
      for (int n = 0; n < kDTiles; n += 2) {
        uint32_t b[4];
        LoadBTransposed(b, right, n * 8, j * 8);
        PRECIS_UNROLL
        for (int m = 0; m < kMTiles; ++m) MmaPair(sum[m][n], sum[m][n + 1], a[m], b);
      }
    }
  }

  PRECIS_DEVICE void Step(int query0, int stage) {
    const float* lse = rows_ + stage * Shape::kRowFloats;
    const float* delta = lse + kQueries;
    Accumulators p = {}, ds = {};
    OverDimensions(p, keys_, Queries(stage));
    ForEachPair([&](int m, int n, int i, int key, int column) {
      p[m][n][i] = Probability(score_, p[m][n][i], lse[column], key0_ + key, query0 + column, head_.length);
    });
    OverQueries(dv_, p, DOutput(stage));
    OverDimensions(ds, values_, DOutput(stage));
    ForEachPair([&](int m, int n, int i, int, int column) { ds[m][n][i] = p[m][n][i] * (ds[m][n][i] - delta[column]); });
    OverQueries(dk_, ds, Queries(stage));
    if (kAtomicDq) AddDq(ds, query0);
  }

  // body(m, n, i, key of the block, query of the tile) for each accumulator of this thread.
  template <class Body>
  PRECIS_DEVICE void ForEachPair(Body body) {
    const int lane = threadIdx.x % 32;
    PRECIS_UNROLL
    for (int m = 0; m < kMTiles; ++m) {
      PRECIS_UNROLL
      for (int n = 0; n < kQTiles; ++n) {
        PRECIS_UNROLL
        for (int i = 0; i < 4; ++i) body(m, n, i, Row(m) + lane / 4 + i / 2 * 8, n * 8 + lane % 4 * 2 + i % 2);
      }
    }
  }

  // dQ of the tile's queries, from the dS of all warps; each warp takes 16 of the head's dimensions at a time.
  PRECIS_DEVICE void AddDq(const Accumulators& ds, int query0) {
    const int lane = threadIdx.x % 32;
    PRECIS_UNROLL
    for (int m = 0; m < kMTiles; ++m) {
      PRECIS_UNROLL
      for (int n = 0; n < kQTiles; ++n) {
        PRECIS_UNROLL
        for (int half = 0; half < 2; ++half) {
          Bf16* to = scores_.At(Row(m) + lane / 4 + half * 8, n * 8 + lane % 4 * 2);
          *reinterpret_cast<uint32_t*>(to) = PackBf16(ds[m][n][2 * half], ds[m][n][2 * half + 1]);
        }
      }
    }
    SyncThreads();
    for (int d = Warp() * 16; d < kHeadDim; d += Shape::kWarps * 16) {
      float sum[kQueries / 16][2][4] = {};
      PRECIS_UNROLL
      for (int k = 0; k < kKeys; k += 16) {
        uint32_t b[4];
        LoadBTransposed(b, keys_, d, k);
        PRECIS_UNROLL
        for (int m = 0; m < kQueries / 16; ++m) {
          uint32_t a[4];
          LoadATransposed(a, scores_, m * 16, k);
          MmaPair(sum[m][0], sum[m][1], a, b);
        }
      }
      AddDqColumns(sum, query0, d);
    }
  }

  PRECIS_DEVICE void AddDqColumns(const float (&sum)[kQueries / 16][2][4], int query0, int d) {
    const int lane = threadIdx.x % 32;
    const int64_t width = int64_t{a_.heads} * a_.head_dim;
    PRECIS_UNROLL
    for (int m = 0; m < kQueries / 16; ++m) {
      PRECIS_UNROLL
      for (int i = 0; i < 8; ++i) {
        const int query = query0 + m * 16 + lane / 4 + i % 4 / 2 * 8;
        const int column = d + i / 4 * 8 + lane % 4 * 2 + i % 2;
        if (query < head_.length) AtomicAdd(head_.dq_sum + query * width + column, sum[m][i / 4][i % 4] * a_.scale);
      }
    }
  }

  PRECIS_DEVICE void Store() {
    const int lane = threadIdx.x % 32;
    PRECIS_UNROLL
    for (int m = 0; m < kMTiles; ++m) {
      PRECIS_UNROLL
      for (int half = 0; half < 2; ++half) {
        const int64_t key = key0_ + Row(m) + lane / 4 + half * 8;
        if (key >= head_.length) continue;
        PRECIS_UNROLL
        for (int n = 0; n < kDTiles; ++n) {
          const int64_t at = key * a_.qkv_stride + n * 8 + lane % 4 * 2;
          const float *dk = dk_[m][n] + 2 * half, *dv = dv_[m][n] + 2 * half;
          *reinterpret_cast<uint32_t*>(head_.dk + at) = PackBf16(dk[0] * a_.scale, dk[1] * a_.scale);
          *reinterpret_cast<uint32_t*>(head_.dv + at) = PackBf16(dv[0], dv[1]);
        }
      }
    }
  }

  PRECIS_DEVICE typename Shape::QueryTile Queries(int stage) const {
    return {reinterpret_cast<Bf16*>(stages_ + stage * 2 * Shape::QueryTile::kBytes)};
  }
  PRECIS_DEVICE typename Shape::QueryTile DOutput(int stage) const {
    return {reinterpret_cast<Bf16*>(stages_ + (stage * 2 + 1) * Shape::QueryTile::kBytes)};
  }
  PRECIS_DEVICE static int Warp() { return threadIdx.x / 32; }
  // First key of the block in this warp's m-th tile.
  PRECIS_DEVICE static int Row(int m) { return (Warp() * kMTiles + m) * 16; }

  const FlashBackwardArgs& a_;
  const BackwardHead<Bf16>& head_;  // in shared memory, for the sake of registers
  const Score score_;
  const int key0_;
  typename Shape::KeyTile keys_, values_;
  char* stages_;  // two of Q and dO
  typename Shape::ScoreTile scores_;
  float* rows_;
  Gradients dk_ = {}, dv_ = {};
};

template <class Shape, class Score, bool kAtomicDq>
PRECIS_KERNEL(Shape::kThreads, 2) FlashBackwardKvKernel(const PRECIS_GRID_CONSTANT FlashBackwardArgs args) {
  // Early keys are seen by the most queries: the longest blocks come first.
  BackwardKv<Shape, Score, kAtomicDq>(args, blockIdx.y, blockIdx.z, blockIdx.x * Shape::kKeys).Run();
}

}  // namespace precis::kernels::PRECIS_GPU_NS

#endif  // PRECIS_KERNELS_BACKWARD_FLASH_BACKWARD_KV_H_
