// Version 2: tiles of keys and values in shared memory.
//
// 128 threads load a tile of 64 keys and values together, widened to float32, and all their rows use it: global traffic falls by 128. A row now works on eight
// scores at a time, so that the output is shrunk once for eight keys and not for each. What is left is float32 arithmetic: 256 operations for a pair of a row
// and a key on units that give 67 TFLOP/s at the very most, a fifteenth of the matrix units.

#include "kernels/lab/lab.h"

namespace precis::kernels::PRECIS_GPU_NS::lab {
namespace {

constexpr int kRows = 128;
constexpr int kKeys = 64;
constexpr int kGroup = 8;

struct Tile {
  float keys[kKeys][kHeadDim];
  float values[kKeys][kHeadDim];
};

PRECIS_DEVICE void LoadTile(const LabArgs& args, int64_t base, int first, Tile& tile) {
  for (int i = static_cast<int>(threadIdx.x); i < kKeys * kHeadDim; i += kRows) {
    const int64_t from = base + static_cast<int64_t>(first) * kHeadDim + i;
    tile.keys[i / kHeadDim][i % kHeadDim] = ToFloat(args.k[from]);
    tile.values[i / kHeadDim][i % kHeadDim] = ToFloat(args.v[from]);
  }
}

struct Row {
  float q[kHeadDim], o[kHeadDim];
  float maximum, sum;

  PRECIS_DEVICE void Add(const Tile& tile, int group, int visible, float scale) {
    float scores[kGroup];
    float now = maximum;
    PRECIS_UNROLL
    for (int j = 0; j < kGroup; ++j) {
      float score = 0.0f;
      PRECIS_UNROLL
      for (int d = 0; d < kHeadDim; ++d) score = Fma(q[d], tile.keys[group + j][d], score);
      scores[j] = group + j < visible ? score * scale : -1e30f;
      now = scores[j] > now ? scores[j] : now;
    }
    const float shrink = Exp2(maximum - now);
    maximum = now;
    sum *= shrink;
    PRECIS_UNROLL
    for (int d = 0; d < kHeadDim; ++d) o[d] *= shrink;
    PRECIS_UNROLL
    for (int j = 0; j < kGroup; ++j) {
      const float p = Exp2(scores[j] - now);
      sum += p;
      PRECIS_UNROLL
      for (int d = 0; d < kHeadDim; ++d) o[d] = Fma(p, tile.values[group + j][d], o[d]);
    }
  }
};

PRECIS_KERNEL(kRows, 1) Tiled(LabArgs args) {
  Tile& tile = *reinterpret_cast<Tile*>(DynamicShared());
  const int block = static_cast<int>(gridDim.x) - 1 - static_cast<int>(blockIdx.x);  // the longest rows first
  const int index = block * kRows + static_cast<int>(threadIdx.x);
  const int64_t base = static_cast<int64_t>(blockIdx.y) * args.tokens * kHeadDim;
  Row row;
  row.maximum = -1e30f;
  row.sum = 0.0f;
  PRECIS_UNROLL
  for (int d = 0; d < kHeadDim; ++d) {
    row.q[d] = ToFloat(args.q[base + static_cast<int64_t>(index) * kHeadDim + d]);
    row.o[d] = 0.0f;
  }
  for (int first = 0; first < (block + 1) * kRows; first += kKeys) {
    SyncThreads();
    LoadTile(args, base, first, tile);
    SyncThreads();
    for (int group = 0; group < kKeys && first + group <= index; group += kGroup) row.Add(tile, group, index + 1 - first, args.scale);
  }
  PRECIS_UNROLL
  for (int d = 0; d < kHeadDim; ++d) args.o[base + static_cast<int64_t>(index) * kHeadDim + d] = ToBf16(row.o[d] / row.sum);
}

}  // namespace

void RunTiled(const LabArgs& args, Stream stream) {
  LaunchConfig config;
  config.grid = {args.tokens / kRows, args.heads, 1};
  config.block = {kRows, 1, 1};
  config.shared_bytes = sizeof(Tile);
  config.stream = stream;
  Launch(&Tiled, config, args);
}

}  // namespace precis::kernels::PRECIS_GPU_NS::lab
