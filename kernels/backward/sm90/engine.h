#ifndef PRECIS_KERNELS_BACKWARD_SM90_ENGINE_H_
#define PRECIS_KERNELS_BACKWARD_SM90_ENGINE_H_

// A computing warpgroup: 64 own rows against one tile of 64 after another. With the own rows' two operands X1, X2 and the tile's T1, T2
//
//   kKeys:   X1 = K, X2 = V, T1 = Q, T2 = dO:   S^T = X1 T1^T,  dP^T = X2 T2^T,  dV += P^T T2,  dK += dS^T T1
//   else:    X1 = Q, X2 = dO, T1 = K, T2 = V:   S = X1 T1^T,    dP = X2 T2^T,                   dQ += dS T1
//
// so that P and dS go from accumulators to operands in registers, and nothing computed is ever in shared memory.
//
// The matrix unit always has something to do: dV runs under the computation of dS, dK and the next tile's S and dP under that of the next P.

#include "kernels/backward/sm90/layout.h"
#include "kernels/backward/sm90/stream.h"
#include "kernels/cuda/attention_sm90/epilogue.h"

#ifdef PRECIS_SM90_CODE
namespace precis::kernels::PRECIS_GPU_NS::sm90 {

template <bool kKeys, class Policy>
class BackwardEngine {
 public:
  using Shape = BackwardShape<kKeys>;
  PRECIS_DEVICE BackwardEngine(const BackwardParams& params, BackwardShared& shared, int group)
      : args_(params.args), shared_(shared), group_(group), thread_(static_cast<int>(threadIdx.x) % kWarpgroup), lane_(thread_ % 32),
        scale_(params.args.scale * kBackwardLog2e) {}

  PRECIS_DEVICE void Run() {
    for (;; slot_.Advance()) {
      MbarrierWait(&shared_.item_full[slot_.index], slot_.phase);
      if (item().head < 0) return;
      own_ = item().own + group_;
      if (group_ < item().groups) {
        Compute(kKeys ? own_ : item().first, kKeys ? item().end : Min(item().end, own_ + 1));
      } else {
        MbarrierWait(&shared_.own_full[buffer_.index], buffer_.phase);
        Release(&shared_.own_empty[buffer_.index]);
        Skip(item().end - item().first);
      }
      buffer_.Advance();
      Release(&shared_.item_empty[slot_.index]);
    }
  }

 private:
  static constexpr int kValues = 32;  // of a 64 x 64 tile, in a thread
  static constexpr int kDescriptorRows = 8 * kHeadDim * 2;
  static constexpr uint64_t kStepAlongRow = 16 * 2 / 16;
  static constexpr uint64_t kStepAlongRows = 16 * kHeadDim * 2 / 16;

  // Stays in shared memory, for the sake of registers.
  PRECIS_DEVICE const BackwardItem& item() const { return shared_.items[slot_.index]; }
  PRECIS_DEVICE int row() const { return thread_ / 32 * 16 + lane_ / 4; }  // of the group: the thread's first; its second is 8 below

  PRECIS_DEVICE static void Clear(float (&values)[kValues]) {
    PRECIS_UNROLL
    for (int i = 0; i < kValues; ++i) values[i] = 0.0f;
  }

  PRECIS_DEVICE void Release(Mbarrier* barrier) const {
    SyncWarp();
    if (lane_ == 0) MbarrierArrive(barrier);
  }
  // Tiles that this group doesn't see.
  PRECIS_DEVICE void Skip(int count) {
    for (int i = 0; i < count; ++i, now_.Advance()) {
      MbarrierWait(&shared_.full[now_.index], now_.phase);
      Release(&shared_.empty[now_.index]);
    }
  }

  // Against tiles first .. end, those of the item's that the group's rows see or are seen by.
  PRECIS_DEVICE void Compute(int first, int end) {
    Prepare();
    Clear(sum1_);
    if constexpr (kKeys) Clear(sum2_);
    Skip(first - item().first);
    MbarrierWait(&shared_.own_full[buffer_.index], buffer_.phase);
    for (int tile = first; tile < end; ++tile) Step(tile, tile > first);
    WgmmaWait<0>();
    HoldRegisters(sum1_);
    if constexpr (kKeys) HoldRegisters(sum2_);
    Release(&shared_.empty[before_]);
    Release(&shared_.own_empty[buffer_.index]);
    Skip(item().end - end);
    const BackwardHead<Bf16> head(args_, item().head, item().sequence);
    Store(kKeys ? head.dk : head.dq, sum1_, args_.scale);
    if constexpr (kKeys) Store(head.dv, sum2_, 1.0f);
  }

  PRECIS_DEVICE void Prepare() {
    slope_ = Policy::kAlibi ? args_.alibi_slopes[item().head] * kBackwardLog2e : 0.0f;
    PRECIS_UNROLL
    for (int half = 0; half < 2; ++half) {
      const int at = own_ * kOwnRows + row() + 8 * half;
      if constexpr (kKeys) {
        shift_[half] = slope_ * static_cast<float>(at - item().own * kOwnRows);
      } else {
        delta_[half] = Delta(at);
        const int64_t line = item().head * args_.lse_stride + item().begin + at;
        shift_[half] = at < item().length ? args_.log_sum_exp[line] * kBackwardLog2e : __builtin_inff();
      }
    }
  }

  // rowsum(O dO) of a query row, which the pass over keys will read.
  PRECIS_DEVICE float Delta(int at) const {
    const bool present = at < item().length;
    const int64_t offset = (item().begin + (present ? at : 0)) * args_.output_stride + item().head * kHeadDim + lane_ % 4 * 16;
    const Bf16* output = static_cast<const Bf16*>(args_.output) + offset;
    const Bf16* d_output = static_cast<const Bf16*>(args_.d_output) + offset;
    float sum = 0.0f;
    PRECIS_UNROLL
    for (int i = 0; i < 2; ++i) {
      const Vec16 o = Load16(output + 8 * i), d = Load16(d_output + 8 * i);
      PRECIS_UNROLL
      for (int j = 0; j < 4; ++j) {
        float a[2], b[2];
        UnpackBf16(o.w[j], a[0], a[1]);
        UnpackBf16(d.w[j], b[0], b[1]);
        sum = Fma(a[0], b[0], Fma(a[1], b[1], sum));
      }
    }
    sum += ShuffleXor(sum, 1);
    sum += ShuffleXor(sum, 2);
    if (present && lane_ % 4 == 0) static_cast<float*>(args_.workspace)[int64_t{item().head} * args_.rows + item().begin + at] = sum;
    return sum;
  }

  PRECIS_DEVICE static uint64_t Rows(const char* tile) { return SharedDescriptor(tile, kStreamBytes, kDescriptorRows, Swizzle::k128); }
  PRECIS_DEVICE uint64_t Tile(int part) const { return Rows(shared_.tiles[now_.index][part]); }

  // S, then dP, each a group of products of its own.
  PRECIS_DEVICE void StartScores(float (&s)[kValues], float (&dp)[kValues]) {
    const uint64_t own1 = Rows(shared_.own[buffer_.index][group_][0]), own2 = Rows(shared_.own[buffer_.index][group_][1]), tile1 = Tile(0), tile2 = Tile(1);
    WgmmaFence();
    PRECIS_UNROLL
    for (int step = 0; step < 4; ++step) WgmmaSS<kStreamRows>(s, own1 + step * kStepAlongRow, tile1 + step * kStepAlongRow, step > 0);
    WgmmaCommit();
    PRECIS_UNROLL
    for (int step = 0; step < 4; ++step) WgmmaSS<kStreamRows>(dp, own2 + step * kStepAlongRow, tile2 + step * kStepAlongRow, step > 0);
    WgmmaCommit();
  }

  // sum += fragments (own rows x tile rows) x the tile.
  PRECIS_DEVICE void StartSum(float (&sum)[kValues], const uint32_t (&fragments)[4][4], int part) {
    const uint64_t tile = Tile(part);
    WgmmaFence();
    PRECIS_UNROLL
    for (int step = 0; step < 4; ++step) WgmmaRS<kHeadDim, true>(sum, fragments[step], tile + step * kStepAlongRows, true);
    WgmmaCommit();
  }

  PRECIS_DEVICE static void Pack(const float (&values)[kValues], uint32_t (&fragments)[4][4]) {
    PRECIS_UNROLL
    for (int step = 0; step < 4; ++step) {
      PRECIS_UNROLL
      for (int i = 0; i < 4; ++i) fragments[step][i] = PackBf16(values[8 * step + 2 * i], values[8 * step + 2 * i + 1]);
    }
  }

  PRECIS_DEVICE void Step(int tile, bool release) {
    float s[kValues], dp[kValues];
    MbarrierWait(&shared_.full[now_.index], now_.phase);
    StartScores(s, dp);
    WgmmaWait<1>();
    HoldRegisters(s);
    if (release) Release(&shared_.empty[before_]);  // the sums that read it are done
    if (tile == own_) Mask(s);
    Probabilities(s, tile);
    if constexpr (kKeys) {
      Pack(s, p_);
      StartSum(sum2_, p_, 1);
    }
    WgmmaWait<kKeys ? 1 : 0>();
    HoldRegisters(dp);
    Gradients(s, dp);
    Pack(dp, ds_);
    StartSum(sum1_, ds_, 0);
    before_ = now_.index;
    now_.Advance();
  }

  // Pairs of the diagonal tile whose key lies after the query.
  PRECIS_DEVICE void Mask(float (&s)[kValues]) const {
    PRECIS_UNROLL
    for (int i = 0; i < kValues; ++i) {
      const int column = i / 4 * 8 + lane_ % 4 * 2 + i % 2, line = row() + i % 4 / 2 * 8;
      if (kKeys ? column < line : column > line) s[i] = -__builtin_inff();
    }
  }

  // S becomes P = 2^(scale S + bias - log-sum-exp).
  PRECIS_DEVICE void Probabilities(float (&s)[kValues], int tile) const {
    if constexpr (kKeys) {
      const float* log_sum_exp = shared_.rows[now_.index][0] + lane_ % 4 * 2;
      PRECIS_UNROLL
      for (int i = 0; i < kValues; ++i) {
        const float l = log_sum_exp[i / 4 * 8 + i % 2];
        s[i] = Exp2(Fma(s[i], scale_, Policy::kAlibi ? shift_[i % 4 / 2] - l : -l));
      }
    } else {
      float base[2];
      PRECIS_UNROLL
      for (int half = 0; half < 2; ++half) {
        const int distance = (tile - own_) * kStreamRows + lane_ % 4 * 2 - row() - 8 * half;
        base[half] = Policy::kAlibi ? Fma(slope_, static_cast<float>(distance), -shift_[half]) : -shift_[half];
      }
      PRECIS_UNROLL
      for (int i = 0; i < kValues; ++i) {
        const float b = base[i % 4 / 2];
        s[i] = Exp2(Fma(s[i], scale_, Policy::kAlibi ? Fma(slope_, static_cast<float>(i / 4 * 8 + i % 2), b) : b));
      }
    }
  }

  // dP becomes dS = P (dP - delta).
  PRECIS_DEVICE void Gradients(const float (&p)[kValues], float (&dp)[kValues]) const {
    const float* delta = kKeys ? shared_.rows[now_.index][1] + lane_ % 4 * 2 : nullptr;
    PRECIS_UNROLL
    for (int i = 0; i < kValues; ++i) dp[i] = p[i] * (dp[i] - (kKeys ? delta[i / 4 * 8 + i % 2] : delta_[i % 4 / 2]));
  }

  // Four threads of a row exchange fragments so that each stores 16 bytes.
  PRECIS_DEVICE void Store(Bf16* to, const float (&sum)[kValues], float scale) const {
    PRECIS_UNROLL
    for (int half = 0; half < 2; ++half) {
      const int at = own_ * kOwnRows + row() + 8 * half;
      PRECIS_UNROLL
      for (int part = 0; part < 2; ++part) {
        Vec16 chunk;
        PRECIS_UNROLL
        for (int i = 0; i < 4; ++i) {
          const float* pair = &sum[16 * part + 4 * i + 2 * half];
          chunk.w[i] = PackBf16(pair[0] * scale, pair[1] * scale);
        }
        TransposeQuad(chunk.w, lane_);
        if (at < item().length) Store16(to + at * args_.qkv_stride + 32 * part + 8 * (lane_ % 4), chunk);
      }
    }
  }

  const FlashBackwardArgs& args_;
  BackwardShared& shared_;
  const int group_;
  const int thread_, lane_;
  const float scale_;
  int own_ = 0;  // the group's tile
  float slope_;
  float shift_[2];  // of the thread's rows: kKeys: ALiBi's part of the key; else log-sum-exp, base 2
  float delta_[2];
  Ring<kBackwardItems> slot_;
  Ring<kOwnBuffers> buffer_;
  Ring<kStreamDepth> now_;
  int before_ = 0;
  uint32_t p_[4][4], ds_[4][4];
  float sum1_[kValues], sum2_[kValues];
};

template <bool kKeys>
PRECIS_DEVICE void InitializeBarriers(BackwardShared& shared) {
  constexpr int kWarps = 4 * BackwardShape<kKeys>::kGroups;
  for (int i = 0; i < kBackwardItems; ++i) {
    MbarrierInit(&shared.item_full[i], 1);
    MbarrierInit(&shared.item_empty[i], kWarps + (kKeys ? 1 : 0));
  }
  for (int i = 0; i < kOwnBuffers; ++i) {
    MbarrierInit(&shared.own_full[i], 1);
    MbarrierInit(&shared.own_empty[i], kWarps);
  }
  for (int i = 0; i < kStreamDepth; ++i) {
    MbarrierInit(&shared.full[i], 1 + (kKeys ? 32 : 0));
    MbarrierInit(&shared.empty[i], kWarps);
  }
  MbarrierInit(&shared.landed, 1);
  MbarrierFenceInit();
}

template <bool kKeys, class Policy>
PRECIS_DEVICE void RunLoaders(const BackwardParams& params, BackwardShared& shared) {
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  if (warp == 0) TileLoader<kKeys, Policy>(params, shared, lane).Run();
  if constexpr (kKeys) {
    if (warp == 1) RowLoader<Policy>(params, shared, lane).Run();
  }
}
#endif  // PRECIS_SM90_CODE

template <bool kKeys, class Policy>
PRECIS_KERNEL(BackwardShape<kKeys>::kThreads, 1) FlashBackwardSm90(const PRECIS_GRID_CONSTANT BackwardParams params) {
#ifdef PRECIS_SM90_CODE
  BackwardShared& shared = *reinterpret_cast<BackwardShared*>(DynamicShared());
  if (threadIdx.x == 0) {
    PrefetchTensorMap(&params.qkv_map);
    PrefetchTensorMap(&params.d_output_map);
    InitializeBarriers<kKeys>(shared);
  }
  SyncThreads();
  GridDependencyWait();
  GridDependencyLaunch();
  const int warpgroup = ShuffleIdx(static_cast<int>(threadIdx.x) / kWarpgroup, 0);
  if (warpgroup == 0) {
    SetMaxRegistersDecrease<BackwardShape<kKeys>::kLoaderRegisters>();
    RunLoaders<kKeys, Policy>(params, shared);
  } else {
    SetMaxRegistersIncrease<BackwardShape<kKeys>::kRegisters>();
    BackwardEngine<kKeys, Policy>(params, shared, warpgroup - 1).Run();
  }
#endif  // PRECIS_SM90_CODE
}

}  // namespace precis::kernels::PRECIS_GPU_NS::sm90

#endif  // PRECIS_KERNELS_BACKWARD_SM90_ENGINE_H_
