// Products of many rows: tiles of x and w come by cp.async in stages of 64 values of k, and m16n8k16 products read them 8 bytes a lane. Rows of a stage are
// 128 bytes; chunk c of row r lies at c ^ 2 (r % 4), so that the sixteen lanes of an 8-byte phase (four rows, two chunks each) meet all 32 banks once.

#include "kernels/cuda/ops/gemm_common.h"
#include "kernels/cuda/ops_list.h"

namespace precis::kernels::PRECIS_GPU_NS {
namespace {

constexpr int kStageK = 64;

template <class W, int kM, int kN, int kWarpM, int kWarpN, int kStages>
struct TileShape {
  static constexpr int kWarps = (kM / kWarpM) * (kN / kWarpN);
  static constexpr int kThreads = 32 * kWarps;
  static constexpr int kWeightRow = kStageK * static_cast<int>(sizeof(W)) + (sizeof(W) == 1 ? 16 : 0);  // int8 rows are padded, not swizzled
  static constexpr int kXBytes = kM * kStageK * 2;
  static constexpr int kStageBytes = kXBytes + kN * kWeightRow;
  static constexpr int kBytes = kStages * kStageBytes;
};

PRECIS_DEVICE int Swizzled(int row, int chunk) { return row * (kStageK * 2) + ((chunk ^ (row % 4 * 2)) * 16); }

template <int kThreads, int kRows>
PRECIS_DEVICE void CopyBf16(char* shared, const void* matrix, int64_t stride, int first, int rows, int k0, int k_end) {
  PRECIS_UNROLL
  for (int i = static_cast<int>(threadIdx.x); i < kRows * 8; i += kThreads) {
    const int row = i / 8, chunk = i % 8, k = k0 + chunk * 8;
    const bool valid = first + row < rows && k < k_end;
    CpAsync16(shared + Swizzled(row, chunk), static_cast<const Bf16*>(matrix) + (valid ? (first + row) * stride + k : 0), valid);
  }
}

template <class S, int kN>
PRECIS_DEVICE void CopyWeights(const Bf16* w, char* shared, int first, int rows, int k0, int k_end) {
  CopyBf16<S::kThreads, kN>(shared, w, k_end, first, rows, k0, k_end);
}
template <class S, int kN>
PRECIS_DEVICE void CopyWeights(const int8_t* w, char* shared, int first, int rows, int k0, int k_end) {
  for (int i = static_cast<int>(threadIdx.x); i < kN * 4; i += S::kThreads) {
    const int row = i / 4, chunk = i % 4, k = k0 + chunk * 16;
    const bool valid = first + row < rows && k < k_end;
    CpAsync16(shared + row * S::kWeightRow + chunk * 16, w + (valid ? static_cast<int64_t>(first + row) * k_end + k : 0), valid);
  }
}

// Lane t's eight of the block of 32 values of k (gemm_common.h).
PRECIS_DEVICE Eight ReadBf16(const char* shared, int row, int block, int t) {
  const auto four = [&](int half) { return *reinterpret_cast<const uint64_t*>(shared + Swizzled(row, block * 4 + half * 2 + t / 2) + t % 2 * 8); };
  return ToEight(four(0), four(1));
}
template <class S>
PRECIS_DEVICE Eight ReadWeights(const Bf16*, const char* shared, int row, int block, int t) {
  return ReadBf16(shared, row, block, t);
}
template <class S>
PRECIS_DEVICE Eight ReadWeights(const int8_t*, const char* shared, int row, int block, int t) {
  const char* at = shared + row * S::kWeightRow + block * 32 + t * 4;
  return Widened(*reinterpret_cast<const uint32_t*>(at) | static_cast<uint64_t>(*reinterpret_cast<const uint32_t*>(at + 16)) << 32);
}

template <class W, int kM, int kN, int kWarpM, int kWarpN, int kStages>
PRECIS_KERNEL((TileShape<W, kM, kN, kWarpM, kWarpN, kStages>::kThreads), 1) GemmTileKernel(const GemmArgs p) {
  using S = TileShape<W, kM, kN, kWarpM, kWarpN, kStages>;
  constexpr int kRowTiles = kWarpM / 16, kColumnTiles = kWarpN / 8;
  char* shared = DynamicShared();
  const int first_row = static_cast<int>(blockIdx.x) * kM, first_column = static_cast<int>(blockIdx.y) * kN;
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const int warp_row = warp % (kM / kWarpM) * kWarpM, warp_column = warp / (kM / kWarpM) * kWarpN;
  const int stages = (p.k + kStageK - 1) / kStageK;
  const W* w = static_cast<const W*>(p.w);
  const auto copy = [&](int stage) {
    char* to = shared + stage % kStages * S::kStageBytes;
    if (stage < stages) {
      CopyBf16<S::kThreads, kM>(to, p.x, p.x_stride, first_row, p.m, stage * kStageK, p.k);
      CopyWeights<S, kN>(w, to + S::kXBytes, first_column, p.n, stage * kStageK, p.k);
    }
    CpAsyncCommit();
  };
  GridDependencyWait();
  GridDependencyLaunch();
  PRECIS_UNROLL
  for (int stage = 0; stage < kStages - 1; ++stage) copy(stage);
  float sum[kRowTiles][kColumnTiles][4] = {}, d[kRowTiles][kColumnTiles][4] = {};
  for (int stage = 0; stage < stages; ++stage) {
    CpAsyncWait<kStages - 2>();
    SyncThreads();
    copy(stage + kStages - 1);
    const char* x_tile = shared + stage % kStages * S::kStageBytes;
    PRECIS_UNROLL
    for (int block = 0; block < kStageK / 32; ++block) {
      Eight low[kRowTiles], high[kRowTiles];
      PRECIS_UNROLL
      for (int i = 0; i < kRowTiles; ++i) {
        low[i] = ReadBf16(x_tile, warp_row + i * 16 + lane / 4, block, lane % 4);
        high[i] = ReadBf16(x_tile, warp_row + i * 16 + 8 + lane / 4, block, lane % 4);
      }
      Eight b[kColumnTiles];
      PRECIS_UNROLL
      for (int j = 0; j < kColumnTiles; ++j) b[j] = ReadWeights<S>(w, x_tile + S::kXBytes, warp_column + j * 8 + lane / 4, block, lane % 4);
      PRECIS_UNROLL
      for (int half = 0; half < 2; ++half) {
        PRECIS_UNROLL
        for (int j = 0; j < kColumnTiles; ++j) {
          PRECIS_UNROLL
          for (int i = 0; i < kRowTiles; ++i) Multiply16(d[i][j], low[i], high[i], b[j], half);
        }
      }
    }
    if (stage % (kSplit / kStageK) != kSplit / kStageK - 1 && stage + 1 < stages) continue;
    PRECIS_UNROLL
    for (int i = 0; i < kRowTiles; ++i) {
      PRECIS_UNROLL
      for (int j = 0; j < kColumnTiles; ++j) {
        PRECIS_UNROLL
        for (int e = 0; e < 4; ++e) {
          sum[i][j][e] += d[i][j][e];
          d[i][j][e] = 0;
        }
      }
    }
  }
  // Through shared memory, so that the epilogue is a short loop over whole lines of y.
  CpAsyncWait<0>();
  SyncThreads();
  constexpr int kStride = kN + 8;
  static_assert(kM * kStride * 4 <= S::kBytes);
  float* tile = reinterpret_cast<float*>(shared);
  PRECIS_UNROLL
  for (int i = 0; i < kRowTiles; ++i) {
    PRECIS_UNROLL
    for (int j = 0; j < kColumnTiles; ++j) {
      PRECIS_UNROLL
      for (int e = 0; e < 4; ++e) tile[(warp_row + i * 16 + lane / 4 + e / 2 * 8) * kStride + warp_column + j * 8 + lane % 4 * 2 + e % 2] = sum[i][j][e];
    }
  }
  SyncThreads();
  PRECIS_NO_UNROLL
  for (int i = static_cast<int>(threadIdx.x) * 2; i < kM * kN; i += S::kThreads * 2) {
    StoreOutputPair(p, first_row + i / kN, first_column + i % kN, tile[i / kN * kStride + i % kN], tile[i / kN * kStride + i % kN + 1]);
  }
}

template <class W, int kM, int kN, int kWarpM, int kWarpN, int kStages>
void LaunchTile(const GemmArgs& args, Stream stream) {
  using S = TileShape<W, kM, kN, kWarpM, kWarpN, kStages>;
  // Rows run fastest: blocks that share weights run together, and w is read from memory once.
  Launch(GemmTileKernel<W, kM, kN, kWarpM, kWarpN, kStages>,
         {.grid = {(args.m + kM - 1) / kM, (args.n + kN - 1) / kN}, .block = S::kThreads, .shared_bytes = S::kBytes, .stream = stream, .dependent = true}, args);
}

template <class W>
void LaunchTyped(const GemmArgs& args, Stream stream) {
  if (args.m <= 32) return LaunchTile<W, 32, 64, 32, 16, 4>(args, stream);
  const int64_t large_tiles = static_cast<int64_t>((args.m + 127) / 128) * ((args.n + 127) / 128);
  if (args.m <= 64 || large_tiles < 100) return LaunchTile<W, 64, 64, 32, 32, 4>(args, stream);
  LaunchTile<W, 128, 128, 64, 32, 4>(args, stream);
}

}  // namespace

void GemmTile(const GemmArgs& args, Stream stream) {
  args.w_type == GpuType::kI8 ? LaunchTyped<int8_t>(args, stream) : LaunchTyped<Bf16>(args, stream);
}

}  // namespace precis::kernels::PRECIS_GPU_NS
