// Version 4: asynchronous copies and a swizzled layout.
//
// cp.async brings the next tile while this one is computed; the 16-byte chunks of each row are exchanged by the row's number, so that the eight rows of an
// ldmatrix fall into different banks. This is the shape of FlashAttention-2, and what kernels/cuda/attention does on sm_80.

#include "kernels/lab/mma_tile.h"

namespace precis::kernels::PRECIS_GPU_NS::lab {
namespace {

constexpr int kThreads = 128;
constexpr int kRows = kThreads / 32 * kWarpRows;
constexpr int kStages = 2;

struct Shared {
  Bf16 keys[kStages][kTileKeys * kHeadDim];
  Bf16 values[kStages][kTileKeys * kHeadDim];
};

PRECIS_DEVICE void StartLoad(const LabArgs& args, int64_t from, int thread, Bf16* keys, Bf16* values) {
  for (int i = thread; i < kTileKeys * kHeadDim / 8; i += kThreads) {
    const int to = TileOffset<true>(i / 8, i % 8 * 8);
    CpAsync16(keys + to, args.k + from + i * 8, true);
    CpAsync16(values + to, args.v + from + i * 8, true);
  }
}

PRECIS_KERNEL(kThreads, 1) Pipelined(LabArgs args) {
  Shared& shared = *reinterpret_cast<Shared*>(DynamicShared());
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32;
  const int block = static_cast<int>(gridDim.x) - 1 - static_cast<int>(blockIdx.x);
  const int64_t base = static_cast<int64_t>(blockIdx.y) * args.tokens * kHeadDim;
  const int first_row = block * kRows + thread / 32 * kWarpRows;
  const int tiles = (block + 1) * kRows / kTileKeys;
  WarpRows rows;
  rows.Start(args.q + base + static_cast<int64_t>(first_row) * kHeadDim, lane);
  StartLoad(args, base, thread, shared.keys[0], shared.values[0]);
  CpAsyncCommit();
  for (int tile = 0; tile < tiles; ++tile) {
    const int stage = tile % kStages;
    if (tile + 1 < tiles) {
      StartLoad(args, base + static_cast<int64_t>(tile + 1) * kTileKeys * kHeadDim, thread, shared.keys[1 - stage], shared.values[1 - stage]);
    }
    CpAsyncCommit();  // an empty group at the end keeps the count
    CpAsyncWait<1>();
    SyncThreads();
    rows.Add<true>(shared.keys[stage], shared.values[stage], first_row + 1 - tile * kTileKeys, args.scale, lane);
    SyncThreads();
  }
  rows.Store(args.o + base + static_cast<int64_t>(first_row) * kHeadDim, lane);
}

}  // namespace

void RunPipelined(const LabArgs& args, Stream stream) {
  LaunchConfig config;
  config.grid = {args.tokens / kRows, args.heads, 1};
  config.block = {kThreads, 1, 1};
  config.shared_bytes = sizeof(Shared);
  config.stream = stream;
  Launch(&Pipelined, config, args);
}

}  // namespace precis::kernels::PRECIS_GPU_NS::lab
