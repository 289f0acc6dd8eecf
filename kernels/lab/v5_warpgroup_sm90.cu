// Version 5: Hopper's copies and products.
//
// One thread asks the tensor memory accelerator for whole tiles, which arrive swizzled and are counted by a barrier in memory: no address arithmetic, no
// registers in between. wgmma multiplies 64 rows at once, four warps together, with operands read straight from shared memory; only mma by warpgroups reaches
// the matrix units' full rate. Everybody still waits for everybody: while exponentials are computed the matrix units idle.

#include "kernels/lab/warpgroup_tile.h"

namespace precis::kernels::PRECIS_GPU_NS::lab {
namespace {

constexpr int kThreads = 128;
constexpr int kStages = 2;

struct Shared {
  Tile queries, keys[kStages], values[kStages];
  Mbarrier arrived[kStages];
};

PRECIS_KERNEL(kThreads, 1)
Warpgroup(LabArgs args, const PRECIS_GRID_CONSTANT TensorMap q, const PRECIS_GRID_CONSTANT TensorMap k, const PRECIS_GRID_CONSTANT TensorMap v) {
  Shared& shared = *reinterpret_cast<Shared*>(DynamicShared());
  const int thread = static_cast<int>(threadIdx.x);
  const int block = static_cast<int>(gridDim.x) - 1 - static_cast<int>(blockIdx.x);  // the longest rows first
  const int head = static_cast<int>(blockIdx.y) * args.tokens;
  const int tiles = block + 1;
  if (thread == 0) {
    for (Mbarrier& bar : shared.arrived) MbarrierInit(&bar, 1);
    MbarrierFenceInit();
  }
  SyncThreads();
  const auto load = [&](int tile) {
    Mbarrier* bar = &shared.arrived[tile % kStages];
    MbarrierArriveExpectTx(bar, (tile == 0 ? 3 : 2) * kTileBytes);
    if (tile == 0) TmaLoad2d(&shared.queries, &q, bar, 0, head + block * kTile);
    TmaLoad2d(&shared.keys[tile % kStages], &k, bar, 0, head + tile * kTile);
    TmaLoad2d(&shared.values[tile % kStages], &v, bar, 0, head + tile * kTile);
  };
  if (thread == 0) {
    for (int tile = 0; tile < kStages && tile < tiles; ++tile) load(tile);
  }
  WarpgroupRows rows;
  rows.Start();
  for (int tile = 0; tile < tiles; ++tile) {
    const int stage = tile % kStages;
    MbarrierWait(&shared.arrived[stage], tile / kStages % 2);
    rows.Add(shared.queries, shared.keys[stage], shared.values[stage], (block - tile) * kTile + 1, args.scale, thread);
    SyncThreads();  // the stage is read
    if (thread == 0 && tile + kStages < tiles) load(tile + kStages);
  }
  rows.Store(args.o + (static_cast<int64_t>(head) + block * kTile) * kHeadDim, thread);
}

}  // namespace

void RunWarpgroup(const LabArgs& args, Stream stream) {
  LaunchConfig config;
  config.grid = {args.tokens / kTile, args.heads, 1};
  config.block = {kThreads, 1, 1};
  config.shared_bytes = sizeof(Shared);
  config.stream = stream;
  Launch(&Warpgroup, config, args, MapOf(args.q, args), MapOf(args.k, args), MapOf(args.v, args));
}

}  // namespace precis::kernels::PRECIS_GPU_NS::lab
