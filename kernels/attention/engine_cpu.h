#ifndef PRECIS_KERNELS_ATTENTION_ENGINE_CPU_H_
#define PRECIS_KERNELS_ATTENTION_ENGINE_CPU_H_

// The two attention engines, for one head and a block of rows. Included by isa_*.cc after vector_math.h.
//
//   s(i, j) = Score(q_i . k_j scale log2 e),  o_i = sum_j 2^(s(i, j) - m_i) v_j / sum_j 2^(s(i, j) - m_i)
//
// A score is one chain of multiply-adds over the head's dimensions; an output element is one chain over the keys in order. Neither
// depends on how many rows or pages a micro-kernel takes at a time. Tiles stand at absolute positions. So the bits of a row are the same
// in prefill, in a chunk and in decode.
namespace precis::kernels::PRECIS_ISA {

inline constexpr int kPageVectors = 16 / kWidth;
// Pages that a micro-kernel takes at a time.
inline constexpr int kBlockPages = kWidth == 16 ? 2 : 1;  // with many rows
inline constexpr int kRowPages = kWidth == 4 ? 2 : 4;     // with one or two rows

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

// Turns raw scores of columns [0, visible) into logits, in place, -inf in the rest of the last vector; returns their maximum.
template <class Score>
PRECIS_INLINE float LogitsOfRow(float* row, int visible, int first_column, int position, float slope) {
  const F slopes = Set(slope * kLog2E);
  F largest = Set(-__builtin_inff());
  for (int c = 0; c < visible; c += kWidth) {
    F s = Load(row + c);
    if constexpr (Score::kUsesDistance) {
      s = Score::Apply(s, Add(Set(static_cast<float>(first_column + c - position)), Iota()), slopes);
      if (c + kWidth > visible) s = KeepBelow(s, visible - c, -__builtin_inff());
      Store(row + c, s);
    } else if (c + kWidth > visible) {
      s = KeepBelow(s, visible - c, -__builtin_inff());
      Store(row + c, s);
    }
    largest = Max(largest, s);
  }
  return ReduceMax(largest);
}

// 2^(s - m) in place; returns the sum.
PRECIS_INLINE float ExpOfRow(float* row, int visible, float maximum) {
  const F m = Set(maximum);
  F sum = Zero();
  for (int c = 0; c < visible; c += kWidth) {
    const F p = Exp2(Sub(Load(row + c), m));
    Store(row + c, p);
    sum = Add(sum, p);
  }
  return ReduceAdd(sum);
}

PRECIS_INLINE void ScaleRow(float* row, int size, float factor) {
  const F f = Set(factor);
  for (int d = 0; d < size; d += kWidth) Store(row + d, Mul(Load(row + d), f));
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

// Online softmax of row r over the tile [begin, end), whose scores are at `row`: logits, the new maximum, exponentials, the new sum.
// Returns the factor by which earlier outputs shrink.
template <class Score>
float OnlineSoftmax(const AttentionBlock& b, const Scratch& s, int r, float* row, int begin, int end) {
  const int position = b.first_position + r;
  const int visible = MinInt(end, position + 1) - begin;
  const float tile_maximum = LogitsOfRow<Score>(row, visible, begin, position, b.slope);
  if (begin == 0) {
    s.maxima[r] = tile_maximum;
    s.sums[r] = ExpOfRow(row, visible, tile_maximum);
    return 1.0f;
  }
  const float before = s.maxima[r];
  const float maximum = before > tile_maximum ? before : tile_maximum;
  const float factor = maximum == before ? 1.0f : First(Exp2(Set(before - maximum)));
  s.maxima[r] = maximum;
  s.sums[r] = s.sums[r] * factor + ExpOfRow(row, visible, maximum);
  return factor;
}

inline void Rescale(const AttentionBlock& b, const Scratch& s, int r, float factor) {
  const int padded = PaddedHeadDim(b.head_dim);
  if (factor != 1.0f) ScaleRow(s.outputs + r * padded, padded, factor);
}

template <class Kv, class Score>
void TiledRows(const AttentionBlock& b, const Scratch& s, const Pages<Kv>& keys, const Pages<Kv>& values) {
  const int context = b.first_position + b.rows;
  for (int begin = 0; begin < context; begin += kTileTokens) {
    const int end = MinInt(context, begin + kTileTokens);
    ScoreTile<Kv>(b, keys, s.queries, begin / 16, (end + 15) / 16, s.scores, kTileTokens);
    for (int r = MaxInt(0, begin - b.first_position); r < b.rows; ++r) {
      Rescale(b, s, r, OnlineSoftmax<Score>(b, s, r, s.scores + r * kTileTokens, begin, end));
    }
    ValueTile<Kv>(b, values, s.scores, kTileTokens, begin, end, s.outputs);
  }
}

// A single row uses the scratch of the other rows for more tiles of its own: the keys of up to kQueryBlock tiles, then their softmax, then their values.
// The same operations in the same order for the row, but memory is read in longer runs.
template <class Kv, class Score>
void TiledRow(const AttentionBlock& b, const Scratch& s, const Pages<Kv>& keys, const Pages<Kv>& values) {
  const int context = b.first_position + 1;
  float factors[kQueryBlock];
  for (int span = 0; span < context; span += kQueryBlock * kTileTokens) {
    const int stop = MinInt(context, span + kQueryBlock * kTileTokens);
    ScoreTile<Kv>(b, keys, s.queries, span / 16, (stop + 15) / 16, s.scores, kTileTokens);
    for (int begin = span, tile = 0; begin < stop; begin += kTileTokens, ++tile) {
      const int end = MinInt(context, begin + kTileTokens);
      factors[tile] = OnlineSoftmax<Score>(b, s, 0, s.scores + (begin - span), begin, end);
    }
    for (int begin = span, tile = 0; begin < stop; begin += kTileTokens, ++tile) {
      Rescale(b, s, 0, factors[tile]);
      ValueTile<Kv>(b, values, s.scores + (begin - span), kTileTokens, begin, MinInt(context, begin + kTileTokens),
                    s.outputs);
    }
  }
}

template <class Kv, class Score>
void TiledAttention(const AttentionBlock& b) {
  const Scratch s = SplitScratch(b);
  const Pages<Kv> keys = {b.keys, b.page_stride, b.block_table};
  const Pages<Kv> values = {b.values, b.page_stride, b.block_table};
  PackQueries(b, s.queries);
  ClearOutputs(b, s.outputs);
  if (b.rows == 1) {
    TiledRow<Kv, Score>(b, s, keys, values);
  } else {
    TiledRows<Kv, Score>(b, s, keys, values);
  }
  WriteOutputs(b, s.outputs, s.sums);
}

// The materialised algorithm, in three passes over a score matrix in memory.

template <class Kv>
void MaterialisedScores(const AttentionBlock& b) {
  const Scratch s = SplitScratch(b);
  const Pages<Kv> keys = {b.keys, b.page_stride, b.block_table};
  PackQueries(b, s.queries);
  ScoreTile<Kv>(b, keys, s.queries, 0, (b.first_position + b.rows + 15) / 16, b.scores, b.scores_stride);
}

template <class Score>
void MaterialisedSoftmax(const AttentionBlock& b) {
  for (int r = 0; r < b.rows; ++r) {
    float* row = b.scores + r * b.scores_stride;
    const int position = b.first_position + r;
    const float maximum = LogitsOfRow<Score>(row, position + 1, 0, position, b.slope);
    b.sums[r] = ExpOfRow(row, position + 1, maximum);
  }
}

template <class Kv>
void MaterialisedValues(const AttentionBlock& b) {
  const Scratch s = SplitScratch(b);
  const Pages<Kv> values = {b.values, b.page_stride, b.block_table};
  ClearOutputs(b, s.outputs);
  const int context = b.first_position + b.rows;
  for (int begin = 0; begin < context; begin += kTileTokens) {
    ValueTile<Kv>(b, values, b.scores + begin, b.scores_stride, begin, MinInt(context, begin + kTileTokens), s.outputs);
  }
  WriteOutputs(b, s.outputs, b.sums);
}

// By element type of the cache.
template <class Score>
void Tiled(const AttentionBlock& b) {
  b.bf16 ? TiledAttention<uint16_t, Score>(b) : TiledAttention<float, Score>(b);
}
inline void Scores(const AttentionBlock& b) {
  b.bf16 ? MaterialisedScores<uint16_t>(b) : MaterialisedScores<float>(b);
}
inline void Values(const AttentionBlock& b) {
  b.bf16 ? MaterialisedValues<uint16_t>(b) : MaterialisedValues<float>(b);
}

template <class Variant>
AttentionKernels MakeAttentionKernels() {
  using Score = typename Variant::Score;
  AttentionKernels kernels;
  if constexpr (Variant::kAlgorithm == Algorithm::kTiled) {
    kernels.tiled = Tiled<Score>;
  } else {
    kernels.scores = Scores;
    kernels.softmax = MaterialisedSoftmax<Score>;
    kernels.values = Values;
  }
  return kernels;
}

}  // namespace precis::kernels::PRECIS_ISA

#endif  // PRECIS_KERNELS_ATTENTION_ENGINE_CPU_H_
