#ifndef PRECIS_KERNELS_ATTENTION_CPU_SCORE_KERNELS_H_
#define PRECIS_KERNELS_ATTENTION_CPU_SCORE_KERNELS_H_

#include "kernels/attention/cpu/block.h"

// q . k of a block of rows with pages of keys. Part of engine_cpu.h.
namespace precis::kernels::PRECIS_ISA {

inline constexpr int kPageVectors = 16 / kWidth;
// Pages that a micro-kernel takes at a time.
inline constexpr int kBlockPages = kWidth == 16 ? 2 : 1;  // with many rows
inline constexpr int kRowPages = kWidth == 4 ? 2 : 4;     // with one or two rows

// Raw scores of R rows with P pages of keys.
template <class Kv, int R, int P>
void ScoreMicro(const float* q, const Kv* const* pages, int head_dim, float* scores, int64_t stride) {
  F acc[R][P][kPageVectors];
  PRECIS_UNROLL for (int r = 0; r < R; ++r) {
    PRECIS_UNROLL for (int p = 0; p < P; ++p) {
      PRECIS_UNROLL for (int v = 0; v < kPageVectors; ++v) acc[r][p][v] = Zero();
    }
  }
  for (int d = 0; d < head_dim; ++d, q += R) {
    PRECIS_UNROLL for (int p = 0; p < P; ++p) {
      F k[kPageVectors];
      PRECIS_UNROLL for (int v = 0; v < kPageVectors; ++v) k[v] = LoadKv(pages[p] + d * 16 + v * kWidth);
      PRECIS_UNROLL for (int r = 0; r < R; ++r) {
        const F x = Set(q[r]);
        PRECIS_UNROLL for (int v = 0; v < kPageVectors; ++v) acc[r][p][v] = Fma(x, k[v], acc[r][p][v]);
      }
    }
  }
  PRECIS_UNROLL for (int r = 0; r < R; ++r) {
    PRECIS_UNROLL for (int p = 0; p < P; ++p) {
      PRECIS_UNROLL for (int v = 0; v < kPageVectors; ++v) {
        Store(scores + r * stride + p * 16 + v * kWidth, acc[r][p][v]);
      }
    }
  }
}

// Raw scores of one group of rows with pages [begin, end) (absolute); scores points at the first page's column of the first row.
template <class Kv, int R>
void ScoreRows(const float* q, const Pages<Kv>& keys, int begin, int end, int head_dim, float* scores, int64_t stride) {
  constexpr int kStep = R <= 2 ? kRowPages : kBlockPages;
  const Kv* pages[kStep];
  int page = begin;
  for (; page + kStep <= end; page += kStep) {
    for (int p = 0; p < kStep; ++p) pages[p] = keys[page + p];
    ScoreMicro<Kv, R, kStep>(q, pages, head_dim, scores + (page - begin) * 16, stride);
  }
  for (; page < end; ++page) {
    pages[0] = keys[page];
    ScoreMicro<Kv, R, 1>(q, pages, head_dim, scores + (page - begin) * 16, stride);
  }
}

// Raw scores of the block's rows with the tile of pages [begin, end): pages outside, row groups inside, so that a page of keys is read
// once into L1. Pages that no row of a group sees are left out.
template <class Kv>
void ScoreTile(const AttentionBlock& b, const Pages<Kv>& keys, const float* queries, int begin, int end, float* scores,
               int64_t stride) {
  constexpr int kStep = 2 * kBlockPages;
  const int page_step = b.rows <= kMaxRows ? end - begin : kStep;
  for (int page = begin; page < end; page += page_step) {
    for (int r0 = 0; r0 < b.rows; r0 += kMaxRows) {
      const int rows = MinInt(kMaxRows, b.rows - r0);
      const int seen = (b.first_position + r0 + rows - 1) / 16 + 1;
      const int stop = MinInt(MinInt(page + page_step, end), seen);
      if (stop <= page) continue;
      WithRows(rows, [&](auto group) {
        ScoreRows<Kv, decltype(group)::kValue>(queries + r0 * b.head_dim, keys, page, stop, b.head_dim,
                                               scores + r0 * stride + (page - begin) * 16, stride);
      });
    }
  }
}

}  // namespace precis::kernels::PRECIS_ISA

#endif  // PRECIS_KERNELS_ATTENTION_CPU_SCORE_KERNELS_H_
