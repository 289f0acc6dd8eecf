// Products of many rows on Hopper, with the bits of gemm_common.h: one thread brings tiles of x and w by TMA, one or two warpgroups multiply 64 rows each
// by wgmma from shared memory. A thread block stays and takes one tile after the other; the loader runs ahead into the next one while a tile is stored.
//
// A split of k is a chain of wgmma steps from zero, of the same sixteen values of k as an m16n8k16 product, and is then added to the sum: two sets of
// accumulators. Two warpgroups hide that from each other: while one adds, the other's products run.

#include "kernels/cuda/ops/gemm_common.h"
#include "kernels/cuda/ops_list.h"
#include "kernels/cuda/platform/multiprocessors.h"
#include "kernels/cuda/platform/tensor_map.h"

namespace precis::kernels::PRECIS_GPU_NS {
namespace {

constexpr int kStageK = 64;
constexpr int kGroupRows = 64;
constexpr int kRowBytes = kStageK * 2;     // the span of the swizzle
constexpr int kEightRows = 8 * kRowBytes;  // its pattern
constexpr int kSharedLimit = 200 << 10;

template <int kGroups, int kColumns>
struct WgmmaShape {
  static constexpr int kRows = kGroups * kGroupRows;
  static constexpr int kThreads = 128 * (kGroups + 1);  // the last warpgroup loads
  static constexpr bool kMoveRegisters = kGroups == 2;  // from it to the others: 384 threads have 168 each
  static constexpr int kXBytes = kRows * kRowBytes;
  static constexpr int kStageBytes = kXBytes + kColumns * kRowBytes;
  static constexpr int kStages = kSharedLimit / kStageBytes < 8 ? kSharedLimit / kStageBytes : 8;
  struct Shared {
    char stage[kStages][kStageBytes];
    Mbarrier full[kStages], empty[kStages];
  };
};

struct WgmmaParams {
  TensorMap x, w;
  GemmArgs p;
  int row_tiles, tiles;
};

// The weights of the first stages don't wait for the kernel before this one.
template <class S, int kColumns>
PRECIS_DEVICE int LoadFirstWeights(const WgmmaParams& params, typename S::Shared& shared) {
  const int column = static_cast<int>(blockIdx.x) / params.row_tiles * kColumns;
  int stage = 0;
  PRECIS_NO_UNROLL
  for (int k = 0; k < params.p.k && stage < S::kStages; k += kStageK, ++stage) {
    MbarrierArriveExpectTx(&shared.full[stage], S::kStageBytes);
    TmaLoad2d(shared.stage[stage] + S::kXBytes, &params.w, &shared.full[stage], k, column);
  }
  return stage;
}

template <class S, int kColumns>
PRECIS_DEVICE void Produce(const WgmmaParams& params, typename S::Shared& shared) {
  const int loaded = LoadFirstWeights<S, kColumns>(params, shared);
  GridDependencyWait();
  int step = 0;
  PRECIS_NO_UNROLL
  for (int tile = static_cast<int>(blockIdx.x); tile < params.tiles; tile += static_cast<int>(gridDim.x)) {
    const int row = tile % params.row_tiles * S::kRows, column = tile / params.row_tiles * kColumns;
    PRECIS_NO_UNROLL
    for (int k = 0; k < params.p.k; k += kStageK, ++step) {
      const int stage = step % S::kStages;
      if (step >= S::kStages) MbarrierWait(&shared.empty[stage], (step / S::kStages - 1) % 2);
      if (step >= loaded) {
        MbarrierArriveExpectTx(&shared.full[stage], S::kStageBytes);
        TmaLoad2d(shared.stage[stage] + S::kXBytes, &params.w, &shared.full[stage], k, column);
      }
      TmaLoad2d(shared.stage[stage], &params.x, &shared.full[stage], k, row);
    }
  }
}

// d += 64 rows of a stage of x times kColumns rows of w.
template <class S, int kColumns>
PRECIS_DEVICE void MultiplyStage(float (&d)[kColumns / 2], typename S::Shared& shared, int step, int group, bool first) {
  const int stage = step % S::kStages;
  MbarrierWait(&shared.full[stage], step / S::kStages % 2);
  const char* x = shared.stage[stage] + group * kGroupRows * kRowBytes;
  const char* w = shared.stage[stage] + S::kXBytes;
  WgmmaFence();
  PRECIS_UNROLL
  for (int i = 0; i < kStageK / 16; ++i) {
    WgmmaSS<kColumns>(d, SharedDescriptor(x + 32 * i, 16, kEightRows, Swizzle::k128), SharedDescriptor(w + 32 * i, 16, kEightRows, Swizzle::k128), !first || i > 0);
  }
  WgmmaCommit();
}

// A thread's accumulators: rows row and row + 8, columns column + 8 i and the next, i < kColumns / 8.
template <int kColumns>
PRECIS_DEVICE void FinishTile(const GemmArgs& p, float (&sum)[kColumns / 2], int column) {
  PRECIS_UNROLL
  for (int i = 0; i < kColumns / 8; ++i) {
    PRECIS_UNROLL
    for (int e = 0; e < 2; ++e) {
      const int n = column + 8 * i + e;
      const float bias = p.bias != nullptr && n < p.n ? p.bias[n] : 0.0f;
      sum[4 * i + e] += bias;
      sum[4 * i + 2 + e] += bias;
    }
  }
  if (p.activation != GpuActivation::kGeluTanh) return;
  PRECIS_UNROLL
  for (int i = 0; i < kColumns / 2; ++i) sum[i] = Activate(sum[i], GpuActivation::kGeluTanh);
}

// Word j of lane t of four to word t of lane j.
PRECIS_DEVICE void TransposeFour(uint32_t (&w)[4], int lane) {
  PRECIS_UNROLL
  for (int bit = 1; bit <= 2; bit *= 2) {
    PRECIS_UNROLL
    for (int i = 0; i < 2; ++i) {
      const int low = bit == 1 ? 2 * i : i, high = low + bit;
      const bool odd = (lane & bit) != 0;
      const uint32_t got = ShuffleXor(odd ? w[low] : w[high], bit);
      (odd ? w[low] : w[high]) = got;
    }
  }
}

// bf16, 16 bytes a lane: four lanes write 64 bytes of a row together.
template <int kColumns>
PRECIS_DEVICE void StoreWide(const GemmArgs& p, const float (&sum)[kColumns / 2], int row, int first_column, int lane) {
  PRECIS_UNROLL
  for (int half = 0; half < 2; ++half) {
    const int m = row + 8 * half;
    Bf16* to = static_cast<Bf16*>(p.y) + m * p.y_stride + first_column + 8 * (lane % 4);
    PRECIS_UNROLL
    for (int i = 0; i < kColumns / 32; ++i) {
      uint32_t w[4];
      PRECIS_UNROLL
      for (int j = 0; j < 4; ++j) w[j] = PackBf16(sum[16 * i + 4 * j + 2 * half], sum[16 * i + 4 * j + 2 * half + 1]);
      TransposeFour(w, lane);
      if (m < p.m) Store16(to + 32 * i, Vec16{{w[0], w[1], w[2], w[3]}});
    }
  }
}

template <int kColumns>
PRECIS_DEVICE void AddWide(const GemmArgs& p, const float (&sum)[kColumns / 2], int row, int column) {
  PRECIS_UNROLL
  for (int half = 0; half < 2; ++half) {
    const int m = row + 8 * half;
    if (m >= p.m) return;
    float* to = static_cast<float*>(p.y) + m * p.y_stride + column;
    PRECIS_UNROLL
    for (int i = 0; i < kColumns / 8; ++i) ReduceAdd2(to + 8 * i, sum[4 * i + 2 * half], sum[4 * i + 2 * half + 1]);
  }
}

template <int kColumns>
PRECIS_DEVICE void StoreTile(const GemmArgs& p, const float (&sum)[kColumns / 2], int row, int first_column, int lane) {
  const int column = first_column + lane % 4 * 2;
  const bool whole = first_column + kColumns <= p.n && reinterpret_cast<uintptr_t>(p.y) % 16 == 0;
  if (kColumns >= 32 && whole && p.y_type == GpuType::kBf16 && p.y_stride % 8 == 0) return StoreWide<kColumns>(p, sum, row, first_column, lane);
  if (whole && p.accumulate && p.y_stride % 2 == 0) return AddWide<kColumns>(p, sum, row, column);
  PRECIS_UNROLL
  for (int i = 0; i < kColumns / 8; ++i) {
    StoreFinishedPair(p, row, column + 8 * i, sum[4 * i], sum[4 * i + 1]);
    StoreFinishedPair(p, row + 8, column + 8 * i, sum[4 * i + 2], sum[4 * i + 3]);
  }
}

template <class S, int kColumns>
PRECIS_DEVICE void Consume(const WgmmaParams& params, typename S::Shared& shared, int group, int thread) {
  const int stages = (params.p.k + kStageK - 1) / kStageK, lane = thread % 32;
  const auto release = [&](int step) {
    if (lane == 0) MbarrierArrive(&shared.empty[step % S::kStages]);
  };
  int step = 0;
  PRECIS_NO_UNROLL
  for (int tile = static_cast<int>(blockIdx.x); tile < params.tiles; tile += static_cast<int>(gridDim.x)) {
    float sum[kColumns / 2] = {};
    PRECIS_NO_UNROLL
    for (int end = step + stages; step < end; step += kSplit / kStageK) {
      float d[kColumns / 2];
      MultiplyStage<S, kColumns>(d, shared, step, group, true);
      const bool both = step + 1 < end;
      if (both) MultiplyStage<S, kColumns>(d, shared, step + 1, group, false);
      WgmmaWait<0>();
      release(step);
      if (both) release(step + 1);
      PRECIS_UNROLL
      for (int i = 0; i < kColumns / 2; ++i) sum[i] += d[i];
    }
    step -= stages % (kSplit / kStageK);  // the last split was a half
    const int row = tile % params.row_tiles * S::kRows + group * kGroupRows + thread / 32 * 16 + lane / 4;
    const int column = tile / params.row_tiles * kColumns;
    FinishTile<kColumns>(params.p, sum, column + lane % 4 * 2);
    StoreTile<kColumns>(params.p, sum, row, column, lane);
  }
}

template <int kGroups, int kColumns>
PRECIS_KERNEL((WgmmaShape<kGroups, kColumns>::kThreads), 1) GemmWgmmaKernel(const PRECIS_GRID_CONSTANT WgmmaParams params) {
  using S = WgmmaShape<kGroups, kColumns>;
  typename S::Shared& shared = *reinterpret_cast<typename S::Shared*>(DynamicShared());
  const int thread = static_cast<int>(threadIdx.x);
  if (thread == 0) {
    PrefetchTensorMap(&params.x);
    PrefetchTensorMap(&params.w);
    for (int i = 0; i < S::kStages; ++i) {
      MbarrierInit(&shared.full[i], 1);
      MbarrierInit(&shared.empty[i], 4 * kGroups);  // a warp each
    }
    MbarrierFenceInit();
  }
  SyncThreads();
  GridDependencyLaunch();
  if (thread >= 128 * kGroups) {
    if constexpr (S::kMoveRegisters) SetMaxRegistersDecrease<24>();
    if (thread == 128 * kGroups) Produce<S, kColumns>(params, shared);
  } else {
    if constexpr (S::kMoveRegisters) SetMaxRegistersIncrease<240>();
    GridDependencyWait();
    Consume<S, kColumns>(params, shared, thread / 128, thread % 128);
  }
}

template <int kGroups, int kColumns>
bool LaunchWgmma(const GemmArgs& args, int multiprocessors, Stream stream) {
  using S = WgmmaShape<kGroups, kColumns>;
  WgmmaParams params;
  params.p = args;
  params.row_tiles = (args.m + S::kRows - 1) / S::kRows;
  params.tiles = params.row_tiles * ((args.n + kColumns - 1) / kColumns);
  if (!MakeRowsMap(args.x, args.m, args.k, args.x_stride, S::kRows, kStageK, &params.x) ||
      !MakeRowsMap(args.w, args.n, args.k, args.k, kColumns, kStageK, &params.w)) {
    return false;
  }
  Launch(GemmWgmmaKernel<kGroups, kColumns>,
         {.grid = params.tiles < multiprocessors ? params.tiles : multiprocessors, .block = S::kThreads, .shared_bytes = static_cast<int>(sizeof(typename S::Shared)),
          .stream = stream, .dependent = true}, params);
  return true;
}

}  // namespace

// The tile with the least of rounds times its time; the times, of 128 x 128, are measured roughly. To 64 rows the columns are shared out alone.
bool GemmWgmma(const GemmArgs& args, Stream stream) {
  if (args.w_type != GpuType::kBf16 || (args.activation != GpuActivation::kNone && args.activation != GpuActivation::kGeluTanh)) return false;
  const int multiprocessors = Multiprocessors(3);
  const auto tiles = [&](int rows, int columns) { return int64_t{(args.m + rows - 1) / rows} * ((args.n + columns - 1) / columns); };
  const auto cost = [&](int rows, int columns, int time) { return (tiles(rows, columns) + multiprocessors - 1) / multiprocessors * time; };
  if (args.m <= 64) {
    if (tiles(64, 64) * 4 >= multiprocessors * 3) return LaunchWgmma<1, 64>(args, multiprocessors, stream);
    return args.n > 2048 ? LaunchWgmma<1, 32>(args, multiprocessors, stream) : LaunchWgmma<1, 16>(args, multiprocessors, stream);
  }
  const int64_t large = cost(128, 128, 100), medium = cost(128, 64, 58), small = cost(64, 64, 42);
  if (large <= medium && large <= small) return LaunchWgmma<2, 128>(args, multiprocessors, stream);
  return medium <= small ? LaunchWgmma<2, 64>(args, multiprocessors, stream) : LaunchWgmma<1, 64>(args, multiprocessors, stream);
}

}  // namespace precis::kernels::PRECIS_GPU_NS
