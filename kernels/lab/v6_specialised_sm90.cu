// Version 6: warps with different jobs.
//
// One warp loads, two warpgroups compute 64 rows each of a block of 128. The loader runs ahead through four stages and waits only for a stage to be free; a
// computing warpgroup waits only for its tile. Nobody waits for all: while one warpgroup is at its exponentials, the other one's products keep the matrix units
// busy. This is the shape of FlashAttention-3; kernels/cuda/attention_sm90 adds larger tiles, an order of turns, registers moved from the loader to the others,
// work that is dealt out to blocks that stay, pages, and ALiBi.

#include "kernels/lab/warpgroup_tile.h"

namespace precis::kernels::PRECIS_GPU_NS::lab {
namespace {

constexpr int kConsumers = 2;  // warpgroups
constexpr int kThreads = 128 * kConsumers + 32;
constexpr int kStages = 4;

struct Shared {
  Tile queries[kConsumers], keys[kStages], values[kStages];
  Mbarrier arrived[kStages], free[kStages];
};

PRECIS_DEVICE void Produce(Shared& shared, const TensorMap& q, const TensorMap& k, const TensorMap& v, int head, int first_row, int tiles) {
  for (int tile = 0; tile < tiles; ++tile) {
    const int stage = tile % kStages;
    if (tile >= kStages) MbarrierWait(&shared.free[stage], (tile / kStages - 1) % 2);
    Mbarrier* bar = &shared.arrived[stage];
    MbarrierArriveExpectTx(bar, (tile == 0 ? 2 + kConsumers : 2) * kTileBytes);
    for (int i = 0; tile == 0 && i < kConsumers; ++i) TmaLoad2d(&shared.queries[i], &q, bar, 0, head + first_row + i * kTile);
    TmaLoad2d(&shared.keys[stage], &k, bar, 0, head + tile * kTile);
    TmaLoad2d(&shared.values[stage], &v, bar, 0, head + tile * kTile);
  }
}

PRECIS_DEVICE void Consume(Shared& shared, const LabArgs& args, int head, int first_row, int tiles) {
  const int group = static_cast<int>(threadIdx.x) / 128, thread = static_cast<int>(threadIdx.x) % 128;
  const int row = first_row + group * kTile;
  WarpgroupRows rows;
  rows.Start();
  for (int tile = 0; tile < tiles; ++tile) {
    const int stage = tile % kStages;
    MbarrierWait(&shared.arrived[stage], tile / kStages % 2);
    // The first warpgroup's rows end one tile earlier.
    if (tile * kTile <= row) rows.Add(shared.queries[group], shared.keys[stage], shared.values[stage], row - tile * kTile + 1, args.scale, thread);
    if (thread % 32 == 0) MbarrierArrive(&shared.free[stage]);
  }
  rows.Store(args.o + (static_cast<int64_t>(head) + row) * kHeadDim, thread);
}

PRECIS_KERNEL(kThreads, 1)
Specialised(LabArgs args, const PRECIS_GRID_CONSTANT TensorMap q, const PRECIS_GRID_CONSTANT TensorMap k, const PRECIS_GRID_CONSTANT TensorMap v) {
  Shared& shared = *reinterpret_cast<Shared*>(DynamicShared());
  const int block = static_cast<int>(gridDim.x) - 1 - static_cast<int>(blockIdx.x);
  const int head = static_cast<int>(blockIdx.y) * args.tokens, first_row = block * kConsumers * kTile;
  const int tiles = (block + 1) * kConsumers;
  if (threadIdx.x == 0) {
    for (Mbarrier& bar : shared.arrived) MbarrierInit(&bar, 1);
    for (Mbarrier& bar : shared.free) MbarrierInit(&bar, 4 * kConsumers);  // a warp each
    MbarrierFenceInit();
  }
  SyncThreads();
  if (threadIdx.x >= 128 * kConsumers) {
    if (threadIdx.x == 128 * kConsumers) Produce(shared, q, k, v, head, first_row, tiles);
  } else {
    Consume(shared, args, head, first_row, tiles);
  }
}

}  // namespace

void RunSpecialised(const LabArgs& args, Stream stream) {
  LaunchConfig config;
  config.grid = {args.tokens / (kConsumers * kTile), args.heads, 1};
  config.block = {kThreads, 1, 1};
  config.shared_bytes = sizeof(Shared);
  config.stream = stream;
  Launch(&Specialised, config, args, MapOf(args.q, args), MapOf(args.k, args), MapOf(args.v, args));
}

}  // namespace precis::kernels::PRECIS_GPU_NS::lab
