// Version 3: both products on the matrix units.
//
// A warp owns 16 rows; four warps share a tile of 64 keys. mma.m16n8k16 does 4096 multiply-adds in one instruction. Loads are still synchronous: the whole
// block waits for memory, then computes, then waits again; and ldmatrix reads eight rows that lie 128 bytes apart, in the same banks, one after the other.

#include "kernels/lab/mma_tile.h"

namespace precis::kernels::PRECIS_GPU_NS::lab {
namespace {

constexpr int kThreads = 128;
constexpr int kRows = kThreads / 32 * kWarpRows;

struct Shared {
  Bf16 keys[kTileKeys * kHeadDim];
  Bf16 values[kTileKeys * kHeadDim];
};

PRECIS_KERNEL(kThreads, 1) TensorCores(LabArgs args) {
  Shared& shared = *reinterpret_cast<Shared*>(DynamicShared());
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32;
  const int block = static_cast<int>(gridDim.x) - 1 - static_cast<int>(blockIdx.x);
  const int64_t base = static_cast<int64_t>(blockIdx.y) * args.tokens * kHeadDim;
  const int first_row = block * kRows + thread / 32 * kWarpRows;
  WarpRows rows;
  rows.Start(args.q + base + static_cast<int64_t>(first_row) * kHeadDim, lane);
  for (int first = 0; first < (block + 1) * kRows; first += kTileKeys) {
    SyncThreads();
    const int64_t from = base + static_cast<int64_t>(first) * kHeadDim;
    for (int i = thread * 8; i < kTileKeys * kHeadDim; i += kThreads * 8) {
      Store16(shared.keys + i, Load16(args.k + from + i));
      Store16(shared.values + i, Load16(args.v + from + i));
    }
    SyncThreads();
    rows.Add<false>(shared.keys, shared.values, first_row + 1 - first, args.scale, lane);
  }
  rows.Store(args.o + base + static_cast<int64_t>(first_row) * kHeadDim, lane);
}

}  // namespace

void RunTensorCores(const LabArgs& args, Stream stream) {
  LaunchConfig config;
  config.grid = {args.tokens / kRows, args.heads, 1};
  config.block = {kThreads, 1, 1};
  config.shared_bytes = sizeof(Shared);
  config.stream = stream;
  Launch(&TensorCores, config, args);
}

}  // namespace precis::kernels::PRECIS_GPU_NS::lab
