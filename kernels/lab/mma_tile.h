#ifndef PRECIS_KERNELS_LAB_MMA_TILE_H_
#define PRECIS_KERNELS_LAB_MMA_TILE_H_

// What versions 3 and 4 share: 16 rows of a warp against a tile of 64 keys by mma.m16n8k16, fragments in registers.
//
// The accumulator of the first product, two 8-column blocks side by side, is laid out as the A operand of the second: thread t holds rows t / 4 and t / 4 + 8,
// columns 2 (t % 4) and the next. So probabilities go from one product into the other without leaving their registers.

#include "kernels/cuda/platform/ptx.h"
#include "kernels/lab/lab.h"

namespace precis::kernels::PRECIS_GPU_NS::lab {

inline constexpr int kTileKeys = 64;
inline constexpr int kWarpRows = 16;

// Where element (row, column) of a [.][64] tile lies, in elements. Rows are 128 bytes: unswizzled, the eight rows that ldmatrix reads at once fall into the
// same banks. kSwizzled exchanges the 16-byte chunks of a row by its number.
template <bool kSwizzled>
PRECIS_DEVICE int TileOffset(int row, int column) {
  const int chunk = column / 8;
  return row * kHeadDim + (kSwizzled ? chunk ^ (row % 8) : chunk) * 8 + column % 8;
}

struct WarpRows {
  uint32_t q[kHeadDim / 16][4];
  float o[kHeadDim / 8][4];
  float maximum[2], sum[2];

  PRECIS_DEVICE void Start(const Bf16* rows, int lane) {
    PRECIS_UNROLL
    for (int k = 0; k < kHeadDim / 16; ++k) {
      PRECIS_UNROLL
      for (int i = 0; i < 4; ++i) {
        const int row = lane / 4 + 8 * (i % 2), column = 16 * k + 2 * (lane % 4) + 8 * (i / 2);
        q[k][i] = *reinterpret_cast<const uint32_t*>(rows + row * kHeadDim + column);
      }
    }
    PRECIS_UNROLL
    for (int n = 0; n < kHeadDim / 8; ++n) {
      PRECIS_UNROLL
      for (int i = 0; i < 4; ++i) o[n][i] = 0.0f;
    }
    maximum[0] = maximum[1] = -1e30f;
    sum[0] = sum[1] = 0.0f;
  }

  // visible: how many of the tile's keys the warp's first row sees; row r sees r more.
  template <bool kSwizzled>
  PRECIS_DEVICE void Add(const Bf16* keys, const Bf16* values, int visible, float scale, int lane) {
    float s[kTileKeys / 8][4];
    Scores<kSwizzled>(keys, s, lane);
    uint32_t p[kTileKeys / 16][4];
    Softmax(s, p, visible, scale, lane);
    AddValues<kSwizzled>(values, p, lane);
  }

  PRECIS_DEVICE void Store(Bf16* rows, int lane) {
    PRECIS_UNROLL
    for (int half = 0; half < 2; ++half) {
      sum[half] += ShuffleXor(sum[half], 1);
      sum[half] += ShuffleXor(sum[half], 2);
      PRECIS_UNROLL
      for (int n = 0; n < kHeadDim / 8; ++n) {
        uint32_t* to = reinterpret_cast<uint32_t*>(rows + (lane / 4 + 8 * half) * kHeadDim + 8 * n + 2 * (lane % 4));
        *to = PackBf16(o[n][2 * half] / sum[half], o[n][2 * half + 1] / sum[half]);
      }
    }
  }

 private:
  template <bool kSwizzled>
  PRECIS_DEVICE void Scores(const Bf16* keys, float (&s)[kTileKeys / 8][4], int lane) {
    PRECIS_UNROLL
    for (int n = 0; n < kTileKeys / 8; ++n) {
      PRECIS_UNROLL
      for (int i = 0; i < 4; ++i) s[n][i] = 0.0f;
      PRECIS_UNROLL
      for (int k = 0; k < kHeadDim / 32; ++k) {
        uint32_t b[4];  // keys 8 n .. 8 n + 7, columns 32 k .. 32 k + 31
        LdMatrixX4(b, keys + TileOffset<kSwizzled>(8 * n + lane % 8, 32 * k + 8 * (lane / 8)));
        const uint32_t low[2] = {b[0], b[1]}, high[2] = {b[2], b[3]};
        MmaBf16(s[n], q[2 * k], low);
        MmaBf16(s[n], q[2 * k + 1], high);
      }
    }
  }

  PRECIS_DEVICE void Softmax(float (&s)[kTileKeys / 8][4], uint32_t (&p)[kTileKeys / 16][4], int visible, float scale, int lane) {
    PRECIS_UNROLL
    for (int half = 0; half < 2; ++half) {
      const int limit = visible + lane / 4 + 8 * half;
      float now = maximum[half];
      PRECIS_UNROLL
      for (int n = 0; n < kTileKeys / 8; ++n) {
        PRECIS_UNROLL
        for (int e = 0; e < 2; ++e) {
          float& score = s[n][2 * half + e];
          score = 8 * n + 2 * (lane % 4) + e < limit ? score * scale : -1e30f;
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
        o[n][2 * half] *= shrink;
        o[n][2 * half + 1] *= shrink;
      }
      PRECIS_UNROLL
      for (int n = 0; n < kTileKeys / 8; ++n) {
        const float first = Exp2(s[n][2 * half] - now), second = Exp2(s[n][2 * half + 1] - now);
        sum[half] += first + second;
        p[n / 2][2 * (n % 2) + half] = PackBf16(first, second);
      }
    }
  }

  template <bool kSwizzled>
  PRECIS_DEVICE void AddValues(const Bf16* values, const uint32_t (&p)[kTileKeys / 16][4], int lane) {
    PRECIS_UNROLL
    for (int k = 0; k < kTileKeys / 16; ++k) {
      PRECIS_UNROLL
      for (int n = 0; n < kHeadDim / 16; ++n) {
        uint32_t b[4];  // keys 16 k .. 16 k + 15, columns 16 n .. 16 n + 15, transposed on the way
        LdMatrixX4Trans(b, values + TileOffset<kSwizzled>(16 * k + lane % 16, 16 * n + 8 * (lane / 16)));
        const uint32_t left[2] = {b[0], b[1]}, right[2] = {b[2], b[3]};
        MmaBf16(o[2 * n], p[k], left);
        MmaBf16(o[2 * n + 1], p[k], right);
      }
    }
  }
};

}  // namespace precis::kernels::PRECIS_GPU_NS::lab

#endif  // PRECIS_KERNELS_LAB_MMA_TILE_H_
