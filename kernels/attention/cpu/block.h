#ifndef PRECIS_KERNELS_ATTENTION_CPU_BLOCK_H_
#define PRECIS_KERNELS_ATTENTION_CPU_BLOCK_H_

// What the two engines share: pages, scratch and packed queries of a block of rows. Part of engine_cpu.h.
namespace precis::kernels::PRECIS_ISA {

template <class Kv>
struct Pages {
  const char* base;
  int64_t stride;
  const int32_t* table;
  const Kv* operator[](int page) const {
    return reinterpret_cast<const Kv*>(base + table[page] * stride);
  }
};

// Scratch of a task.
struct Scratch {
  float* queries;  // groups of kMaxRows rows, [head_dim][rows] each
  float* scores;   // [rows][kTileTokens]
  float* outputs;  // [rows][padded head_dim]
  float* maxima;   // [rows]
  float* sums;     // [rows]
};

inline Scratch SplitScratch(const AttentionBlock& b) {
  Scratch s;
  const int padded = PaddedHeadDim(b.head_dim);
  s.queries = reinterpret_cast<float*>(b.scratch);
  s.scores = s.queries + kQueryBlock * padded;
  s.outputs = s.scores + kQueryBlock * kTileTokens;
  s.maxima = s.outputs + kQueryBlock * padded;
  s.sums = s.maxima + kQueryBlock;
  return s;
}

PRECIS_INLINE int MinInt(int a, int b) { return a < b ? a : b; }
PRECIS_INLINE int MaxInt(int a, int b) { return a > b ? a : b; }

// Queries times scale log2 e, in groups of kMaxRows rows, dimension by dimension.
inline void PackQueries(const AttentionBlock& b, float* packed) {
  const float factor = b.scale * kLog2E;
  for (int r0 = 0; r0 < b.rows; r0 += kMaxRows) {
    const int rows = MinInt(kMaxRows, b.rows - r0);
    float* group = packed + r0 * b.head_dim;
    for (int r = 0; r < rows; ++r) {
      const float* q = b.query + (r0 + r) * b.query_stride;
      for (int d = 0; d < b.head_dim; ++d) group[d * rows + r] = q[d] * factor;
    }
  }
}

// Calls body(integral constant R) with R = rows, 1 <= rows <= kMaxRows.
template <int R>
struct Rows {
  static constexpr int kValue = R;
};
template <int R = 1, class Body>
PRECIS_INLINE void WithRows(int rows, Body body) {
  if constexpr (R < kMaxRows) {
    if (rows != R) return WithRows<R + 1>(rows, body);
  }
  body(Rows<R>());
}

}  // namespace precis::kernels::PRECIS_ISA

#endif  // PRECIS_KERNELS_ATTENTION_CPU_BLOCK_H_
