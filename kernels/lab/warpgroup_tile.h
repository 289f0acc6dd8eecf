#ifndef PRECIS_KERNELS_LAB_WARPGROUP_TILE_H_
#define PRECIS_KERNELS_LAB_WARPGROUP_TILE_H_

// What versions 5 and 6 share: 64 rows of a warpgroup (four warps) against a tile of 64 keys by wgmma, both operands of the first product in shared memory.
//
// Tiles are 64 rows of 128 bytes as TMA brings them with 128-byte swizzle: eight rows are 1,024 bytes, the swizzle's pattern. The keys are a K-major operand
// (16 elements of the head are 32 bytes along the row), the values an N-major one (16 keys are two groups of eight rows). An accumulator register 8 n + i of
// thread t holds row 16 (t / 32) + t % 32 / 4 + 8 (i % 4 / 2), column 8 (i / 4) + ...: again just what the A operand of the second product wants.

#include "kernels/cuda/platform/ptx.h"
#include "kernels/cuda/platform/tensor_map.h"
#include "kernels/lab/lab.h"

namespace precis::kernels::PRECIS_GPU_NS::lab {

inline constexpr int kTile = 64;  // rows of queries, of keys
inline constexpr int kTileBytes = kTile * kHeadDim * 2;
inline constexpr int kGroupBytes = 8 * kHeadDim * 2;

struct Tile {
  Bf16 data[kTile * kHeadDim];
};

// [heads * tokens][64] in boxes of 64 rows.
inline TensorMap MapOf(const Bf16* base, const LabArgs& args) {
  TensorMap map = {};
  MakeRowsMap(base, int64_t{args.heads} * args.tokens, kHeadDim, kHeadDim, kTile, kHeadDim, &map);
  return map;
}

struct WarpgroupRows {
  float o[kHeadDim / 2];
  float maximum[2], sum[2];

  PRECIS_DEVICE void Start() {
    PRECIS_UNROLL
    for (int i = 0; i < kHeadDim / 2; ++i) o[i] = 0.0f;
    maximum[0] = maximum[1] = -1e30f;
    sum[0] = sum[1] = 0.0f;
  }

  // visible: how many of the tile's keys the warpgroup's first row sees; row r sees r more. The tiles may be overwritten when it returns.
  PRECIS_DEVICE void Add(const Tile& queries, const Tile& keys, const Tile& values, int visible, float scale, int thread) {
    float s[kTile / 2];
    WgmmaFence();
    PRECIS_UNROLL
    for (int k = 0; k < kHeadDim / 16; ++k) WgmmaSS<kTile>(s, RowsFrom(queries, 16 * k), RowsFrom(keys, 16 * k), k > 0);
    WgmmaCommit();
    WgmmaWait<0>();
    uint32_t p[kTile / 16][4];
    Softmax(s, p, visible, scale, thread);
    WgmmaFence();
    PRECIS_UNROLL
    for (int k = 0; k < kTile / 16; ++k) WgmmaRS<kHeadDim, true>(o, p[k], KeysFrom(values, 16 * k), true);
    WgmmaCommit();
    WgmmaWait<0>();
  }

  PRECIS_DEVICE void Store(Bf16* rows, int thread) {
    PRECIS_UNROLL
    for (int half = 0; half < 2; ++half) {
      sum[half] += ShuffleXor(sum[half], 1);
      sum[half] += ShuffleXor(sum[half], 2);
      const int row = thread / 32 * 16 + thread % 32 / 4 + 8 * half;
      PRECIS_UNROLL
      for (int n = 0; n < kHeadDim / 8; ++n) {
        uint32_t* to = reinterpret_cast<uint32_t*>(rows + row * kHeadDim + 8 * n + 2 * (thread % 4));
        *to = PackBf16(o[4 * n + 2 * half] / sum[half], o[4 * n + 2 * half + 1] / sum[half]);
      }
    }
  }

 private:
  PRECIS_DEVICE static uint64_t RowsFrom(const Tile& tile, int column) { return SharedDescriptor(tile.data + column, 16, kGroupBytes, Swizzle::k128); }
  PRECIS_DEVICE static uint64_t KeysFrom(const Tile& tile, int key) { return SharedDescriptor(tile.data + key * kHeadDim, 16, kGroupBytes, Swizzle::k128); }

  PRECIS_DEVICE void Softmax(float (&s)[kTile / 2], uint32_t (&p)[kTile / 16][4], int visible, float scale, int thread) {
    PRECIS_UNROLL
    for (int half = 0; half < 2; ++half) {
      const int limit = visible + thread / 32 * 16 + thread % 32 / 4 + 8 * half;
      float now = maximum[half];
      PRECIS_UNROLL
      for (int n = 0; n < kTile / 8; ++n) {
        PRECIS_UNROLL
        for (int e = 0; e < 2; ++e) {
          float& score = s[4 * n + 2 * half + e];
          score = 8 * n + 2 * (thread % 4) + e < limit ? score * scale : -1e30f;
          now = score > now ? score : now;
        }
      }
      for (int mask = 1; mask <= 2; mask *= 2) {
        const float other = ShuffleXor(now, mask);
        now = other > now ? other : now;
      }
      const float shrink = Exp2(maximum[half] - now);
      maximum[half] = now;
      sum[half] *= shrink;
      PRECIS_UNROLL
      for (int n = 0; n < kHeadDim / 8; ++n) {
        o[4 * n + 2 * half] *= shrink;
        o[4 * n + 2 * half + 1] *= shrink;
      }
      PRECIS_UNROLL
      for (int n = 0; n < kTile / 8; ++n) {
        const float first = Exp2(s[4 * n + 2 * half] - now), second = Exp2(s[4 * n + 2 * half + 1] - now);
        sum[half] += first + second;
        p[n / 2][2 * (n % 2) + half] = PackBf16(first, second);
      }
    }
  }
};

}  // namespace precis::kernels::PRECIS_GPU_NS::lab

#endif  // PRECIS_KERNELS_LAB_WARPGROUP_TILE_H_
