#ifndef PRECIS_KERNELS_ATTENTION_CPU_VALUE_KERNELS_H_
#define PRECIS_KERNELS_ATTENTION_CPU_VALUE_KERNELS_H_

#include "kernels/attention/cpu/block.h"

// Weighted sums of values. Part of engine_cpu.h.
namespace precis::kernels::PRECIS_ISA {

// outputs[r][d0 ...] += sum over keys [begin, end) of scores[r][key] * values[key][d0 ...], for V vectors of dimensions, the last
// with `lanes` of its lanes.
template <class Kv, int R, int V, bool kPartial>
void ValueMicro(const float* scores, int64_t stride, const Pages<Kv>& values, int begin, int end, int head_dim, int d0,
                int lanes, float* outputs, int padded) {
  F acc[R][V];
  PRECIS_UNROLL for (int r = 0; r < R; ++r) {
    PRECIS_UNROLL for (int v = 0; v < V; ++v) acc[r][v] = Load(outputs + r * padded + d0 + v * kWidth);
  }
  for (int key = begin; key < end;) {
    const int stop = MinInt(end, (key / 16 + 1) * 16);
    const Kv* row = values[key / 16] + (key % 16) * head_dim + d0;
    for (; key < stop; ++key, row += head_dim) {
      F value[V];
      PRECIS_UNROLL for (int v = 0; v < V; ++v) {
        if constexpr (kPartial) {
          Kv part[kWidth] = {};
          for (int i = 0; i < lanes; ++i) part[i] = row[i];
          value[v] = LoadKv(part);
        } else {
          value[v] = LoadKv(row + v * kWidth);
        }
      }
      PRECIS_UNROLL for (int r = 0; r < R; ++r) {
        const F p = Set(scores[r * stride + key]);
        PRECIS_UNROLL for (int v = 0; v < V; ++v) acc[r][v] = Fma(p, value[v], acc[r][v]);
      }
    }
  }
  PRECIS_UNROLL for (int r = 0; r < R; ++r) {
    PRECIS_UNROLL for (int v = 0; v < V; ++v) Store(outputs + r * padded + d0 + v * kWidth, acc[r][v]);
  }
}

// All dimensions of R rows; `scores` is indexed by the key's absolute position.
template <class Kv, int R>
void ValueRows(const float* scores, int64_t stride, const Pages<Kv>& values, int begin, int end, int head_dim,
               float* outputs, int padded) {
  int d = 0;
  if constexpr (R == 1) {
    constexpr int kMany = 8;
    for (; d + kMany * kWidth <= head_dim; d += kMany * kWidth) {
      ValueMicro<Kv, R, kMany, false>(scores, stride, values, begin, end, head_dim, d, 0, outputs, padded);
    }
  }
  if constexpr (R <= 2) {
    for (; d + 4 * kWidth <= head_dim; d += 4 * kWidth) {
      ValueMicro<Kv, R, 4, false>(scores, stride, values, begin, end, head_dim, d, 0, outputs, padded);
    }
  }
  for (; d + 2 * kWidth <= head_dim; d += 2 * kWidth) {
    ValueMicro<Kv, R, 2, false>(scores, stride, values, begin, end, head_dim, d, 0, outputs, padded);
  }
  for (; d + kWidth <= head_dim; d += kWidth) {
    ValueMicro<Kv, R, 1, false>(scores, stride, values, begin, end, head_dim, d, 0, outputs, padded);
  }
  if (d < head_dim) {
    ValueMicro<Kv, R, 1, true>(scores, stride, values, begin, end, head_dim, d, head_dim - d, outputs, padded);
  }
}

// outputs += scores . values over the tile of keys [begin, end) (absolute), each row up to its own position. Values that a row may not see are never
// touched for it: they may be anything.
template <class Kv>
void ValueTile(const AttentionBlock& b, const Pages<Kv>& values, const float* scores, int64_t stride, int begin, int end,
               float* outputs) {
  const int padded = PaddedHeadDim(b.head_dim);
  scores -= begin;
  for (int r0 = 0; r0 < b.rows; r0 += kMaxRows) {
    const int rows = MinInt(kMaxRows, b.rows - r0);
    const int common = MaxInt(begin, MinInt(end, b.first_position + r0 + 1));
    if (common > begin) {
      WithRows(rows, [&](auto group) {
        ValueRows<Kv, decltype(group)::kValue>(scores + r0 * stride, stride, values, begin, common, b.head_dim,
                                               outputs + r0 * padded, padded);
      });
    }
    for (int r = r0 + 1; r < r0 + rows; ++r) {
      const int seen = MinInt(end, b.first_position + r + 1);
      if (seen > common) {
        ValueRows<Kv, 1>(scores + r * stride, stride, values, common, seen, b.head_dim, outputs + r * padded, padded);
      }
    }
  }
}

inline void ClearOutputs(const AttentionBlock& b, float* outputs) {
  const int floats = b.rows * PaddedHeadDim(b.head_dim);
  for (int i = 0; i < floats; i += kWidth) Store(outputs + i, Zero());
}

// output = outputs / sums
inline void WriteOutputs(const AttentionBlock& b, const float* outputs, const float* sums) {
  const int padded = PaddedHeadDim(b.head_dim);
  for (int r = 0; r < b.rows; ++r) {
    const F factor = Set(1.0f / sums[r]);
    const float* from = outputs + r * padded;
    float* to = b.output + r * b.output_stride;
    int d = 0;
    for (; d + kWidth <= b.head_dim; d += kWidth) Store(to + d, Mul(Load(from + d), factor));
    if (d < b.head_dim) StorePartial(to + d, Mul(Load(from + d), factor), b.head_dim - d);
  }
}

}  // namespace precis::kernels::PRECIS_ISA

#endif  // PRECIS_KERNELS_ATTENTION_CPU_VALUE_KERNELS_H_
