#ifndef PRECIS_KERNELS_CUDA_FRAGMENTS_H_
#define PRECIS_KERNELS_CUDA_FRAGMENTS_H_

// Operands of m16n8k16 products from shared tiles. A tile is rows of kColumns bf16 elements, padded by 16 bytes: the eight rows that one ldmatrix phase
// reads then lie in eight different groups of banks, for every multiple of 16 columns.

#include <cstdint>

#include "kernels/cuda/platform/platform.h"
#include "kernels/cuda/platform/ptx.h"

namespace precis::kernels::PRECIS_GPU_NS {

template <int kRows, int kColumns>
struct SharedTile {
  static constexpr int kStride = kColumns + 8;
  static constexpr int kBytes = kRows * kStride * 2;
  Bf16* data;

  PRECIS_DEVICE Bf16* At(int row, int column) const { return data + row * kStride + column; }
};

// A (m16 x k16) from a tile that holds [m][k].
template <class Tile>
PRECIS_DEVICE void LoadA(uint32_t (&a)[4], const Tile& tile, int m, int k) {
  const int lane = threadIdx.x % 32;
  LdMatrixX4(a, tile.At(m + lane % 16, k + lane / 16 * 8));
}

// A (m16 x k16) from a tile that holds [k][m].
template <class Tile>
PRECIS_DEVICE void LoadATransposed(uint32_t (&a)[4], const Tile& tile, int m, int k) {
  const int lane = threadIdx.x % 32;
  LdMatrixX4Trans(a, tile.At(k + lane % 8 + lane / 16 * 8, m + lane / 8 % 2 * 8));
}

// Two neighbouring B (k16 x n8) from a tile that holds [n][k]: first in b[0], b[1], second in b[2], b[3].
template <class Tile>
PRECIS_DEVICE void LoadB(uint32_t (&b)[4], const Tile& tile, int n, int k) {
  const int lane = threadIdx.x % 32;
  LdMatrixX4(b, tile.At(n + lane % 8 + lane / 16 * 8, k + lane / 8 % 2 * 8));
}

// The same from a tile that holds [k][n].
template <class Tile>
PRECIS_DEVICE void LoadBTransposed(uint32_t (&b)[4], const Tile& tile, int n, int k) {
  const int lane = threadIdx.x % 32;
  LdMatrixX4Trans(b, tile.At(k + lane % 8 + lane / 8 % 2 * 8, n + lane / 16 * 8));
}

// d[0] += a b_first, d[1] += a b_second.
PRECIS_DEVICE void MmaPair(float (&d0)[4], float (&d1)[4], const uint32_t (&a)[4], const uint32_t (&b)[4]) {
  const uint32_t first[2] = {b[0], b[1]}, second[2] = {b[2], b[3]};
  MmaBf16(d0, a, first);
  MmaBf16(d1, a, second);
}

// Accumulators of two neighbouring n8 tiles, rounded to bf16, as the A operand whose k runs over those 16 columns.
PRECIS_DEVICE void PackA(uint32_t (&a)[4], const float (&left)[4], const float (&right)[4]) {
  a[0] = PackBf16(left[0], left[1]);
  a[1] = PackBf16(left[2], left[3]);
  a[2] = PackBf16(right[0], right[1]);
  a[3] = PackBf16(right[2], right[3]);
}

// Copies rows begin .. begin + kRows of a matrix ([.][stride], kColumns read) to a tile, asynchronously; rows from `end` on become zero.
template <int kThreads, int kRows, int kColumns>
PRECIS_DEVICE void CopyTile(const SharedTile<kRows, kColumns>& tile, const Bf16* matrix, int64_t stride, int begin, int end) {
  constexpr int kChunks = kColumns / 8;
  for (int i = threadIdx.x; i < kRows * kChunks; i += kThreads) {
    const int row = i / kChunks, column = i % kChunks * 8;
    const bool valid = begin + row < end;
    CpAsync16(tile.At(row, column), matrix + (valid ? begin + row : begin) * stride + column, valid);
  }
}

}  // namespace precis::kernels::PRECIS_GPU_NS

#endif  // PRECIS_KERNELS_CUDA_FRAGMENTS_H_
