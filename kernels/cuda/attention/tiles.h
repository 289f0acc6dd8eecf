#ifndef PRECIS_KERNELS_CUDA_ATTENTION_TILES_H_
#define PRECIS_KERNELS_CUDA_ATTENTION_TILES_H_

// Tiles of bf16 rows in shared memory, and the products of a warp on them by mma.m16n8k16. Rows are padded by 16 bytes: the eight 16-byte rows that ldmatrix
// reads at once then lie in different banks, for every head size.

#include "kernels/cuda/attention/attention_common.h"
#include "kernels/cuda/platform/ptx.h"

namespace precis::kernels::PRECIS_GPU_NS {

template <int kHeadDim>
inline constexpr int kTileStride = kHeadDim + 8;  // elements from row to row
template <int kHeadDim>
inline constexpr int kPieces = kHeadDim / 8;  // of 16 bytes in a row

// Starts copying the rows of tokens [first, first + kRows) of one head from its pages (`part`: the head in page 0). Tokens from `limit` on become zero: their
// slots may hold anything.
template <int kHeadDim, int kRows, int kThreads>
PRECIS_DEVICE void CopyPagedTile(Bf16* tile, const char* part, int64_t page_stride, const int32_t* table, int first, int limit) {
  PRECIS_UNROLL
  for (int c = 0; c < CeilDiv(kRows * kPieces<kHeadDim>, kThreads); ++c) {
    const int index = c * kThreads + static_cast<int>(threadIdx.x);
    const int row = index / kPieces<kHeadDim>, piece = index % kPieces<kHeadDim>, token = first + row;
    if (kRows * kPieces<kHeadDim> % kThreads != 0 && row >= kRows) continue;
    const bool valid = token < limit;
    const char* source = part;
    if (valid) {
      source += table[token / kTokensPerPage] * page_stride + (token % kTokensPerPage) * (kHeadDim * 2) + piece * 16;
    }
    CpAsync16(tile + row * kTileStride<kHeadDim> + piece * 8, source, valid);
  }
}

// Starts copying rows [0, kRows) that lie `stride` bytes apart from `source` on; rows outside [begin, end) become zero and are not read.
template <int kHeadDim, int kRows, int kThreads>
PRECIS_DEVICE void CopyRows(Bf16* tile, const char* source, int64_t stride, int begin, int end) {
  PRECIS_UNROLL
  for (int c = 0; c < CeilDiv(kRows * kPieces<kHeadDim>, kThreads); ++c) {
    const int index = c * kThreads + static_cast<int>(threadIdx.x);
    const int row = index / kPieces<kHeadDim>, piece = index % kPieces<kHeadDim>;
    if (kRows * kPieces<kHeadDim> % kThreads != 0 && row >= kRows) continue;
    const bool valid = row >= begin && row < end;
    CpAsync16(tile + row * kTileStride<kHeadDim> + piece * 8, valid ? source + row * stride + piece * 16 : source, valid);
  }
}

// The A fragment of 16 rows from the tile's row `first` on, columns 16k .. 16k+15.
template <int kHeadDim>
PRECIS_DEVICE void LoadAFragment(uint32_t (&a)[4], const Bf16* tile, int first, int k) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  LdMatrixX4(a, tile + (first + lane % 16) * kTileStride<kHeadDim> + k * 16 + lane / 16 * 8);
}
// Those of all columns.
template <int kHeadDim>
PRECIS_DEVICE void LoadAFragments(uint32_t (&a)[kHeadDim / 16][4], const Bf16* tile, int first) {
  PRECIS_UNROLL
  for (int k = 0; k < kHeadDim / 16; ++k) LoadAFragment<kHeadDim>(a[k], tile, first, k);
}

// scores[m][n] = rows of a[m] . keys 8n .. 8n+7 of the tile, one chain over the head's dimensions in order. kKeys is a multiple of 16.
template <int kHeadDim, int kRowTiles, int kKeys>
PRECIS_DEVICE void MultiplyKeys(float (&scores)[kRowTiles][kKeys / 8][4], const uint32_t (&a)[kRowTiles][kHeadDim / 16][4], const Bf16* keys) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const Bf16* row = keys + (lane / 16 * 8 + lane % 8) * kTileStride<kHeadDim> + lane / 8 % 2 * 8;
  PRECIS_UNROLL
  for (int m = 0; m < kRowTiles; ++m) {
    PRECIS_UNROLL
    for (int n = 0; n < kKeys / 8; ++n) {
      PRECIS_UNROLL
      for (int i = 0; i < 4; ++i) scores[m][n][i] = 0.0f;
    }
  }
  PRECIS_UNROLL
  for (int k = 0; k < kHeadDim / 16; ++k) {
    PRECIS_UNROLL
    for (int n = 0; n < kKeys / 8; n += 2) {
      uint32_t b[4];
      LdMatrixX4(b, row + n * 8 * kTileStride<kHeadDim> + k * 16);
      const uint32_t low[2] = {b[0], b[1]}, high[2] = {b[2], b[3]};
      PRECIS_UNROLL
      for (int m = 0; m < kRowTiles; ++m) {
        MmaBf16(scores[m][n], a[m][k], low);
        MmaBf16(scores[m][n + 1], a[m][k], high);
      }
    }
  }
}

// The A fragment of keys 16k .. 16k+15 out of scores (or weights) as the products above leave them.
PRECIS_DEVICE void WeightFragment(uint32_t (&a)[4], const float (&left)[4], const float (&right)[4]) {
  a[0] = PackBf16(left[0], left[1]);
  a[1] = PackBf16(left[2], left[3]);
  a[2] = PackBf16(right[0], right[1]);
  a[3] = PackBf16(right[2], right[3]);
}

// output[m][n] += a[m] (16 keys from `first` on) x values of dimensions 8n .. 8n+7.
template <int kHeadDim, int kRowTiles>
PRECIS_DEVICE void MultiplyValues(float (&output)[kRowTiles][kHeadDim / 8][4], const uint32_t (&a)[kRowTiles][4], const Bf16* values, int first) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const Bf16* row = values + (first + lane % 16) * kTileStride<kHeadDim> + lane / 16 * 8;
  PRECIS_UNROLL
  for (int n = 0; n < kHeadDim / 8; n += 2) {
    uint32_t b[4];
    LdMatrixX4Trans(b, row + n * 8);
    const uint32_t low[2] = {b[0], b[1]}, high[2] = {b[2], b[3]};
    PRECIS_UNROLL
    for (int m = 0; m < kRowTiles; ++m) {
      MmaBf16(output[m][n], a[m], low);
      MmaBf16(output[m][n + 1], a[m], high);
    }
  }
}

// Writes a warp's 16 rows of results, times `factor` of rows lane / 4 and lane / 4 + 8, to the tile's rows from `first` on.
template <int kHeadDim>
PRECIS_DEVICE void StoreFragments(Bf16* tile, int first, const float (&output)[kHeadDim / 8][4], const float (&factor)[2]) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  PRECIS_UNROLL
  for (int half = 0; half < 2; ++half) {
    uint32_t* row = reinterpret_cast<uint32_t*>(tile + (first + lane / 4 + half * 8) * kTileStride<kHeadDim>);
    PRECIS_UNROLL
    for (int n = 0; n < kHeadDim / 8; ++n) {
      row[n * 4 + lane % 4] = PackBf16(output[n][2 * half] * factor[half], output[n][2 * half + 1] * factor[half]);
    }
  }
}

// A warp's copy of rows [first, first + kRows) of the tile, those in [begin, end), to rows `stride` bytes apart from `target` (row 0) on.
template <int kHeadDim, int kRows>
PRECIS_DEVICE void StoreRows(char* target, int64_t stride, const Bf16* tile, int first, int begin, int end) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  PRECIS_UNROLL
  for (int c = 0; c < kRows * kPieces<kHeadDim> / 32; ++c) {
    const int index = c * 32 + lane;
    const int row = first + index / kPieces<kHeadDim>, piece = index % kPieces<kHeadDim>;
    if (row >= begin && row < end) Store16(target + row * stride + piece * 16, Load16(tile + row * kTileStride<kHeadDim> + piece * 8));
  }
}

}  // namespace precis::kernels::PRECIS_GPU_NS

#endif  // PRECIS_KERNELS_CUDA_ATTENTION_TILES_H_
