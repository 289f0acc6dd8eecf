#ifndef PRECIS_TESTS_SIMT_MUTANTS_H_
#define PRECIS_TESTS_SIMT_MUTANTS_H_

// Three small kernels as one would write them, and the bugs that can be planted in each (mutation_test.cc).

#include "kernels/cuda/platform/launch.h"
#include "kernels/cuda/platform/ptx.h"
#include "kernels/cuda/platform/tensor_map.h"

namespace precis::kernels::simt {

enum Bug {
  kNone,
  // Reduce
  kReduceNoBarrier, kReduceWrongLane, kReduceSharedPastEnd, kReduceSharedBeforeStart, kReduceGlobalPastEnd, kReduceDivergentShuffle, kReduceEarlyReturn,
  kReduceReadsUnwritten,
  // CopyGemm
  kGemmNoWait, kGemmWeakWait, kGemmNoBarrierAfterWait, kGemmNoBarrierBeforeReuse, kGemmNoCommit, kGemmWrongFragment, kGemmNotTransposed, kGemmWrongRow,
  kGemmGlobalPastEnd, kGemmWrongStage, kGemmDivergentLoad, kGemmMisaligned, kGemmWritesUnderCopy,
  // Pipeline
  kPipeNoFullWait, kPipeWrongParity, kPipeFewBytes, kPipeManyBytes, kPipeNoEmptyWait, kPipeNoRelease, kPipeEarlyRelease, kPipeNoProductWait, kPipeNoCommit,
  kPipeNoFence, kPipeWrongStride, kPipeNoSwizzle, kPipeNoProxyFence, kPipeNoStoreWait, kPipeNoStoreCommit, kPipeNoNamedBarrier, kPipeNamedCount, kPipeNoInit,
  kPipeNoBarrierAfterInit, kPipeArrivals, kPipeWrongAccumulator, kPipeWrongCoordinate, kPipeOddCoordinate,
  kPipeNegativeStore, kPipeBarrierId,
  kBugs
};

inline constexpr int kReduceThreads = 128;

// out[block] = sum of values [block * n, block * n + n).
PRECIS_KERNEL(kReduceThreads, 1) Reduce(const float* values, float* out, int n, int bug) {
  float* partial = reinterpret_cast<float*>(DynamicShared());  // one a warp
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp = thread / 32;
  float sum = 0.0f;
  const int end = bug == kReduceGlobalPastEnd ? n + 1 : n;
  for (int i = thread; i < end; i += kReduceThreads) sum += values[static_cast<int>(blockIdx.x) * n + i];
  if (bug == kReduceEarlyReturn && thread == 5) return;
  for (int step = 16; step > 0; step /= 2) {
    const int from = bug == kReduceWrongLane && step == 8 ? 7 : step;
    if (bug == kReduceDivergentShuffle && step == 1 && lane >= 16) continue;
    sum += ShuffleDown(sum, from);
  }
  const int slot = bug == kReduceSharedPastEnd ? warp + 1 : bug == kReduceSharedBeforeStart ? warp - 1 : warp;
  if (lane == 0 && !(bug == kReduceReadsUnwritten && warp == 2)) partial[slot] = sum;
  if (bug != kReduceNoBarrier) SyncThreads();
  if (thread == 0) out[blockIdx.x] = partial[0] + partial[1] + partial[2] + partial[3];
}

inline constexpr int kGemmThreads = 64, kGemmRows = 32, kGemmColumns = 16, kGemmStep = 16;
inline constexpr int kGemmStageBytes = (kGemmRows + kGemmStep) * 32;
inline constexpr int kGemmShared = 2 * kGemmStageBytes;

// One step of A and B to a stage: rows of 32 bytes, A's 32, then B's 16.
PRECIS_DEVICE void CopyStage(const Bf16* a, const Bf16* b, int k, int step, int bug) {
  char* stage = DynamicShared() + step % 2 * kGemmStageBytes;
  for (int i = static_cast<int>(threadIdx.x); i < (kGemmRows + kGemmStep) * 2; i += kGemmThreads) {
    const int row = i / 2, half = i % 2, b_row = row - kGemmRows + (bug == kGemmGlobalPastEnd ? 1 : 0);
    const Bf16* from = row < kGemmRows ? a + row * k + step * kGemmStep + half * 8 : b + (step * kGemmStep + b_row) * kGemmColumns + half * 8;
    CpAsync16(stage + row * 32 + half * 16 + (bug == kGemmMisaligned ? 2 : 0), from, true);
  }
  if (bug != kGemmNoCommit) CpAsyncCommit();
}

// c [32][16] = a [32][k] b [k][16], by two warps, two stages.
PRECIS_KERNEL(kGemmThreads, 1) CopyGemm(const Bf16* a, const Bf16* b, float* c, int k, int bug) {
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32, steps = k / kGemmStep;
  float sum[2][4] = {};
  CopyStage(a, b, k, 0, bug);
  for (int step = 0; step < steps; ++step) {
    if (step + 1 < steps) {
      CopyStage(a, b, k, step + 1, bug);
      if (bug == kGemmWritesUnderCopy && threadIdx.x == 0) *reinterpret_cast<uint32_t*>(DynamicShared() + (step + 1) % 2 * kGemmStageBytes) = 7;
    }
    if (bug != kGemmNoWait) {
      if (step + 1 < steps || bug == kGemmWeakWait) {
        CpAsyncWait<1>();
      } else {
        CpAsyncWait<0>();
      }
    }
    if (bug != kGemmNoBarrierAfterWait) SyncThreads();
    const char* stage = DynamicShared() + (bug == kGemmWrongStage ? 1 - step % 2 : step % 2) * kGemmStageBytes;
    uint32_t fa[4], fb[4];
    const int row = bug == kGemmWrongRow ? lane / 2 : lane % 16;
    LdMatrixX4(fa, stage + (warp * 16 + row) * 32 + lane / 16 * 16);
    if (bug == kGemmDivergentLoad && lane == 31) return;
    const char* rows_b = stage + kGemmRows * 32 + lane % 16 * 32 + lane / 16 * 16;
    if (bug == kGemmNotTransposed) {
      LdMatrixX4(fb, rows_b);
    } else {
      LdMatrixX4Trans(fb, rows_b);
    }
    MmaBf16(sum[0], fa, {fb[0], fb[1]});
    MmaBf16(sum[1], fa, {fb[2], fb[3]});
    if (bug != kGemmNoBarrierBeforeReuse) SyncThreads();
  }
  for (int tile = 0; tile < 2; ++tile) {
    for (int i = 0; i < 4; ++i) {
      const int down = bug == kGemmWrongFragment ? i % 2 : i / 2, right = bug == kGemmWrongFragment ? i / 2 : i % 2;
      c[(warp * 16 + lane / 4 + down * 8) * kGemmColumns + tile * 8 + lane % 4 * 2 + right] = sum[tile][i];
    }
  }
}

inline constexpr int kPipeThreads = 256, kPipeStages = 2, kPipeTile = 64 * 64 * 2;
struct PipeShared {
  alignas(1024) char a[kPipeStages][kPipeTile];
  alignas(1024) char b[kPipeStages][kPipeTile];
  alignas(1024) char c[kPipeTile];
  Mbarrier full[kPipeStages], empty[kPipeStages];
};

PRECIS_DEVICE void PipeProduce(PipeShared& shared, const TensorMap& a, const TensorMap& b, int steps, int bug) {
  for (int step = 0; step < steps; ++step) {
    const int stage = step % kPipeStages, round = step / kPipeStages;
    if (round > 0 && bug != kPipeNoEmptyWait) MbarrierWait(&shared.empty[stage], (round - 1) & 1);
    const uint32_t bytes = bug == kPipeFewBytes ? kPipeTile : bug == kPipeManyBytes ? 3 * kPipeTile : 2 * kPipeTile;
    MbarrierArriveExpectTx(&shared.full[stage], bytes);
    TmaLoad2d(shared.a[stage], &a, &shared.full[stage], step * 64 + (bug == kPipeOddCoordinate ? 2 : 0), bug == kPipeWrongCoordinate ? 8 : 0);
    TmaLoad2d(shared.b[stage], &b, &shared.full[stage], step * 64, 0);
  }
}

PRECIS_DEVICE void PipeMultiply(PipeShared& shared, float (&sum)[32], int steps, int bug) {
  const bool first_lane = threadIdx.x % 32 == 0;
  for (int step = 0; step < steps; ++step) {
    const int stage = step % kPipeStages, parity = step / kPipeStages & 1;
    if (bug != kPipeNoFullWait) MbarrierWait(&shared.full[stage], bug == kPipeWrongParity ? 1 - parity : parity);
    if (bug == kPipeEarlyRelease && first_lane) MbarrierArrive(&shared.empty[stage]);
    if (bug != kPipeNoFence) WgmmaFence();
    const Swizzle swizzle = bug == kPipeNoSwizzle ? Swizzle::kNone : Swizzle::k128;
    for (int k = 0; k < 4; ++k) {
      const int stride = bug == kPipeWrongStride ? 512 : 1024;
      WgmmaSS<64>(sum, SharedDescriptor(shared.a[stage] + k * 32, 16, stride, swizzle), SharedDescriptor(shared.b[stage] + k * 32, 16, 1024, swizzle),
                  step > 0 || k > 0);
    }
    if (bug != kPipeNoCommit) WgmmaCommit();
    if (bug != kPipeNoProductWait) WgmmaWait<0>();
    if (bug != kPipeNoRelease && bug != kPipeEarlyRelease && first_lane) MbarrierArrive(&shared.empty[stage]);
  }
}

// bf16 to shared memory in the swizzled layout, then one bulk store.
PRECIS_DEVICE void PipeStore(PipeShared& shared, const TensorMap& c, const float (&sum)[32], int bug) {
  const int thread = static_cast<int>(threadIdx.x) % 128, lane = thread % 32;
  for (int i = 0; i < 32; i += 2) {
    const int row = thread / 32 * 16 + lane / 4 + i % 4 / 2 * 8, column = (bug == kPipeWrongAccumulator ? 7 - i / 4 : i / 4) * 8 + lane % 4 * 2;
    const int offset = row * 128 + column * 2;
    *reinterpret_cast<uint32_t*>(shared.c + (offset ^ ((offset >> 7 & 7) << 4))) = PackBf16(sum[i], sum[i + 1]);
  }
  if (bug != kPipeNoProxyFence) FenceProxyAsync();
  if (bug == kPipeNamedCount) {
    NamedBarrierSync(1, 256);
  } else if (bug == kPipeBarrierId) {
    NamedBarrierSync(1 + lane / 16, 128);
  } else if (bug != kPipeNoNamedBarrier) {
    NamedBarrierSync(1, 128);
  }
  if (thread != 0) return;
  TmaStore2d(&c, shared.c, 0, bug == kPipeNegativeStore ? -1 : 0);
  if (bug != kPipeNoStoreCommit) TmaStoreCommit();
  if (bug != kPipeNoStoreWait) TmaStoreWait<0>();
}

// c [64][64] = a [64][k] b [64][k]^T: a producer thread, a consumer warpgroup.
PRECIS_KERNEL(kPipeThreads, 1) Pipeline(const PRECIS_GRID_CONSTANT TensorMap a, const PRECIS_GRID_CONSTANT TensorMap b, const PRECIS_GRID_CONSTANT TensorMap c,
                                        int steps, int bug) {
  PipeShared& shared = *reinterpret_cast<PipeShared*>(DynamicShared());
  if (threadIdx.x == 0 && bug != kPipeNoInit) {
    for (int i = 0; i < kPipeStages; ++i) {
      MbarrierInit(&shared.full[i], 1);
      MbarrierInit(&shared.empty[i], bug == kPipeArrivals ? 5 : 4);
    }
    MbarrierFenceInit();
  }
  if (bug != kPipeNoBarrierAfterInit) SyncThreads();
  if (threadIdx.x == 0) PipeProduce(shared, a, b, steps, bug);
  if (threadIdx.x < 128) return;
  float sum[32];
  PipeMultiply(shared, sum, steps, bug);
  PipeStore(shared, c, sum, bug);
}

}  // namespace precis::kernels::simt

#endif  // PRECIS_TESTS_SIMT_MUTANTS_H_
