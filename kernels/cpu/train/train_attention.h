#ifndef PRECIS_KERNELS_CPU_TRAIN_TRAIN_ATTENTION_H_
#define PRECIS_KERNELS_CPU_TRAIN_TRAIN_ATTENTION_H_

// Causal attention over whole sequences with its gradients, one head of one sequence a task. Included by isa_*.cc after elements.h.
//
// Forward: blocks of kTrainQueries rows by tiles of kTrainKeys keys, online softmax (Dao et al. 2022); the row's log-sum-exp is kept. Backward: for each pair of
// blocks S and P are computed again from it, and five products give dQ, dK, dV (Dao 2023, algorithm 2). Scratch grows with the length, not its square.
// With `probabilities` the forward pass stores P and the backward pass reads it: the textbook way, for comparison.
namespace precis::kernels::PRECIS_ISA {

inline constexpr int kTrainQueries = 48;
inline constexpr int kTrainKeys = 64;

// C[R][2 vectors] (+)= sum over k of A(r, k) * B[k][..]: A's elements are a_row and a_k apart.
template <int R>
PRECIS_INLINE void SmallMicro(const float* a, int64_t a_row, int64_t a_k, const float* b, int64_t b_stride, float* c, int64_t c_stride, int depth, bool add) {
  F acc[R][2];
  PRECIS_UNROLL for (int r = 0; r < R; ++r) {
    PRECIS_UNROLL for (int half = 0; half < 2; ++half) acc[r][half] = add ? Load(c + r * c_stride + half * kWidth) : Zero();
  }
  for (int k = 0; k < depth; ++k, b += b_stride, a += a_k) {
    const F b0 = Load(b), b1 = Load(b + kWidth);
    PRECIS_UNROLL for (int r = 0; r < R; ++r) {
      const F x = Set(a[r * a_row]);
      acc[r][0] = Fma(x, b0, acc[r][0]);
      acc[r][1] = Fma(x, b1, acc[r][1]);
    }
  }
  PRECIS_UNROLL for (int r = 0; r < R; ++r) {
    PRECIS_UNROLL for (int half = 0; half < 2; ++half) Store(c + r * c_stride + half * kWidth, acc[r][half]);
  }
}

// C[rows][columns] (+)= op(A) B; columns a multiple of two vectors.
inline void SmallProduct(const float* a, int64_t a_row, int64_t a_k, const float* b, int64_t b_stride, float* c, int64_t c_stride, int rows, int columns,
                         int depth, bool add) {
  for (int n = 0; n < columns; n += 2 * kWidth) {
    int r = 0;
    for (; r + kMaxRows <= rows; r += kMaxRows) {
      SmallMicro<kMaxRows>(a + r * a_row, a_row, a_k, b + n, b_stride, c + r * c_stride + n, c_stride, depth, add);
    }
    for (; r + 2 <= rows; r += 2) SmallMicro<2>(a + r * a_row, a_row, a_k, b + n, b_stride, c + r * c_stride + n, c_stride, depth, add);
    for (; r < rows; ++r) SmallMicro<1>(a + r * a_row, a_row, a_k, b + n, b_stride, c + r * c_stride + n, c_stride, depth, add);
  }
}

constexpr int64_t RoundUp(int64_t n, int64_t to) { return (n + to - 1) / to * to; }
inline constexpr int kDimStep = 2 * kWidth;  // head sizes are padded to it

// The head's matrices as floats in scratch. Keys and values once by row, [length][dim], once transposed by tile, [tile][head_dim][kTrainKeys]; padded with zeros.
struct HeadScratch {
  float *keys, *values, *keys_t, *values_t, *dk, *dv;
  float *q, *dout, *out, *scores, *dscores, *row_max, *row_sum;
};

PRECIS_INLINE int64_t PaddedLength(int length) { return RoundUp(length, kTrainKeys); }

inline HeadScratch Carve(float* scratch, int length, int head_dim) {
  const int64_t dim = RoundUp(head_dim, kDimStep), rows = PaddedLength(length);
  HeadScratch s;
  float* next = scratch;
  const auto take = [&next](int64_t count) {
    float* at = next;
    next += RoundUp(count, 16);
    return at;
  };
  s.keys = take(rows * dim), s.values = take(rows * dim);
  s.keys_t = take(rows * dim), s.values_t = take(rows * dim);
  s.dk = take(rows * dim), s.dv = take(rows * dim);
  s.q = take(kTrainQueries * dim), s.dout = take(kTrainQueries * dim), s.out = take(kTrainQueries * dim);
  s.scores = take(kTrainQueries * kTrainKeys), s.dscores = take(kTrainQueries * kTrainKeys);
  s.row_max = take(kTrainQueries), s.row_sum = take(kTrainQueries);
  return s;
}

inline int64_t TrainAttentionScratch(int length, int head_dim) {
  const int64_t dim = RoundUp(head_dim, kDimStep), rows = PaddedLength(length);
  return 6 * RoundUp(rows * dim, 16) + 3 * RoundUp(kTrainQueries * dim, 16) + 2 * RoundUp(kTrainQueries * kTrainKeys, 16) + 2 * RoundUp(kTrainQueries, 16);
}

template <class T>
inline void CopyRows(const T* from, int64_t stride, int rows, int head_dim, int64_t dim, float* to) {
  for (int r = 0; r < rows; ++r, from += stride, to += dim) {
    ForVectors(head_dim, [&](int64_t i, int lanes) { StoreLanes(to + i, LoadLanes(from + i, lanes), lanes); });
    for (int64_t d = head_dim; d < dim; ++d) to[d] = 0;
  }
}

inline void Clear(float* to, int64_t count) { __builtin_memset(to, 0, static_cast<size_t>(count) * 4); }

// rows [length][dim] to tiles [tile][head_dim][kTrainKeys].
inline void TransposeTiles(const float* rows, int64_t dim, int64_t padded, int head_dim, float* tiles) {
  for (int64_t begin = 0; begin < padded; begin += kTrainKeys) {
    float* tile = tiles + begin * dim;
    for (int d = 0; d < head_dim; ++d) {
      for (int j = 0; j < kTrainKeys; ++j) tile[d * kTrainKeys + j] = rows[(begin + j) * dim + d];
    }
  }
}

template <class T>
inline void LoadKeysAndValues(const TrainAttentionTask& t, const HeadScratch& s, bool values_transposed) {
  const int64_t dim = RoundUp(t.head_dim, kDimStep), padded = PaddedLength(t.length);
  const T* qkv = static_cast<const T*>(t.qkv);
  CopyRows(qkv + t.width, t.qkv_stride, t.length, t.head_dim, dim, s.keys);
  CopyRows(qkv + 2 * t.width, t.qkv_stride, t.length, t.head_dim, dim, s.values);
  Clear(s.keys + t.length * dim, (padded - t.length) * dim);
  Clear(s.values + t.length * dim, (padded - t.length) * dim);
  TransposeTiles(s.keys, dim, padded, t.head_dim, s.keys_t);
  if (values_transposed) TransposeTiles(s.values, dim, padded, t.head_dim, s.values_t);
}

// scale * s + slope * (j - i) for row i and keys [first, first + kWidth); keys past i become very small.
PRECIS_INLINE F BiasedScore(F s, int i, int first, F scale, F slope) {
  s = Mul(s, scale);
  s = Fma(slope, Add(Iota(), Set(static_cast<float>(first - i))), s);
  const int visible = i + 1 - first;
  return visible >= kWidth ? s : KeepBelow(s, visible > 0 ? visible : 0, -3.0e38f);
}

// One block of queries against one tile: scores to probabilities relative to the running maximum; output and sums rescaled.
inline void OnlineSoftmax(const TrainAttentionTask& t, const HeadScratch& s, int query, int rows, int key, int64_t dim) {
  const F scale = Set(t.scale), slope = Set(t.slope);
  for (int r = 0; r < rows; ++r) {
    float* row = s.scores + r * kTrainKeys;
    F largest = Set(-3.0e38f);
    for (int j = 0; j < kTrainKeys; j += kWidth) {
      const F v = BiasedScore(Load(row + j), query + r, key + j, scale, slope);
      Store(row + j, v);
      largest = Max(largest, v);
    }
    const float old = s.row_max[r], found = ReduceMax(largest), top = found > old ? found : old;
    F sum = Zero();
    for (int j = 0; j < kTrainKeys; j += kWidth) {
      const F p = Exp(Sub(Load(row + j), Set(top)));
      Store(row + j, p);
      sum = Add(sum, p);
    }
    const float rescale = First(Exp(Set(old - top)));
    s.row_max[r] = top;
    s.row_sum[r] = s.row_sum[r] * rescale + ReduceAdd(sum);
    if (rescale == 1.0f) continue;
    for (int64_t d = 0; d < dim; d += kWidth) Store(s.out + r * dim + d, Mul(Load(s.out + r * dim + d), Set(rescale)));
  }
}

// The block's probabilities from the scores of all keys, again by tiles, when they are to be kept.
inline void KeepProbabilities(const TrainAttentionTask& t, const HeadScratch& s, int query, int rows, int64_t dim) {
  const F scale = Set(t.scale), slope = Set(t.slope);
  for (int key = 0; key < t.length; key += kTrainKeys) {
    SmallProduct(s.q, dim, 1, s.keys_t + key * dim, kTrainKeys, s.scores, kTrainKeys, rows, kTrainKeys, t.head_dim, false);
    const int keys = t.length - key < kTrainKeys ? t.length - key : kTrainKeys;
    for (int r = 0; r < rows; ++r) {
      const F lse = Set(t.log_sum_exp[query + r]);
      float* to = t.probabilities + int64_t{query + r} * t.length + key;
      ForVectors(keys, [&](int64_t j, int lanes) {
        const F v = BiasedScore(Load(s.scores + r * kTrainKeys + j), query + r, key + static_cast<int>(j), scale, slope);
        StoreLanes(to + j, Exp(Sub(v, lse)), lanes);
      });
    }
  }
}

template <class T>
void AttentionForwardOf(const TrainAttentionTask& t) {
  const HeadScratch s = Carve(t.scratch, t.length, t.head_dim);
  const int64_t dim = RoundUp(t.head_dim, kDimStep);
  LoadKeysAndValues<T>(t, s, false);
  const T* qkv = static_cast<const T*>(t.qkv);
  T* output = static_cast<T*>(t.output);
  for (int query = 0; query < t.length; query += kTrainQueries) {
    const int rows = t.length - query < kTrainQueries ? t.length - query : kTrainQueries;
    CopyRows(qkv + query * t.qkv_stride, t.qkv_stride, rows, t.head_dim, dim, s.q);
    Clear(s.out, kTrainQueries * dim);
    Clear(s.row_sum, kTrainQueries);
    for (int r = 0; r < rows; ++r) s.row_max[r] = -3.0e38f;
    for (int key = 0; key < query + rows; key += kTrainKeys) {
      SmallProduct(s.q, dim, 1, s.keys_t + key * dim, kTrainKeys, s.scores, kTrainKeys, rows, kTrainKeys, t.head_dim, false);
      OnlineSoftmax(t, s, query, rows, key, dim);
      const int keys = query + rows - key < kTrainKeys ? query + rows - key : kTrainKeys;
      SmallProduct(s.scores, kTrainKeys, 1, s.values + key * dim, dim, s.out, dim, rows, static_cast<int>(dim), keys, true);
    }
    for (int r = 0; r < rows; ++r) {
      const F inverse = Set(1.0f / s.row_sum[r]);
      T* to = output + (query + r) * t.output_stride;
      ForVectors(t.head_dim, [&](int64_t d, int lanes) { StoreLanes(to + d, Mul(Load(s.out + r * dim + d), inverse), lanes); });
      t.log_sum_exp[query + r] = s.row_max[r] + __builtin_logf(s.row_sum[r]);
    }
    if (t.probabilities != nullptr) KeepProbabilities(t, s, query, rows, dim);
  }
}

// P of a block and tile into scores; dS = P (dP - delta) scale into dscores.
inline void ScoreGradients(const TrainAttentionTask& t, const HeadScratch& s, int query, int rows, int key, int64_t dim) {
  const F scale = Set(t.scale), slope = Set(t.slope);
  if (t.probabilities == nullptr) {
    SmallProduct(s.q, dim, 1, s.keys_t + key * dim, kTrainKeys, s.scores, kTrainKeys, rows, kTrainKeys, t.head_dim, false);
  }
  SmallProduct(s.dout, dim, 1, s.values_t + key * dim, kTrainKeys, s.dscores, kTrainKeys, rows, kTrainKeys, t.head_dim, false);
  for (int r = 0; r < rows; ++r) {
    float *p = s.scores + r * kTrainKeys, *d = s.dscores + r * kTrainKeys;
    const F lse = Set(t.log_sum_exp[query + r]), delta = Set(s.row_sum[r]);
    const int kept = t.length - key;  // columns of the stored row
    for (int j = 0; j < kTrainKeys; j += kWidth) {
      F probability;
      if (t.probabilities == nullptr) {
        probability = Exp(Sub(BiasedScore(Load(p + j), query + r, key + j, scale, slope), lse));
      } else {
        const int lanes = kept - j >= kWidth ? kWidth : kept > j ? kept - j : 0;
        probability = LoadLanes(t.probabilities + int64_t{query + r} * t.length + key + (lanes > 0 ? j : 0), lanes);
      }
      Store(p + j, probability);
      Store(d + j, Mul(Mul(probability, Sub(Load(d + j), delta)), scale));
    }
  }
}

template <class T>
PRECIS_INLINE void StoreRows(const float* from, int64_t dim, int rows, int head_dim, T* to, int64_t stride) {
  for (int r = 0; r < rows; ++r) {
    ForVectors(head_dim, [&](int64_t d, int lanes) { StoreLanes(to + r * stride + d, Load(from + r * dim + d), lanes); });
  }
}

template <class T>
void AttentionBackwardOf(const TrainAttentionTask& t) {
  const HeadScratch s = Carve(t.scratch, t.length, t.head_dim);
  const int64_t dim = RoundUp(t.head_dim, kDimStep), padded = PaddedLength(t.length);
  const int columns = static_cast<int>(dim);
  LoadKeysAndValues<T>(t, s, true);
  Clear(s.dk, padded * dim);
  Clear(s.dv, padded * dim);
  const T* qkv = static_cast<const T*>(t.qkv);
  T* d_qkv = static_cast<T*>(t.d_qkv);
  for (int query = 0; query < t.length; query += kTrainQueries) {
    const int rows = t.length - query < kTrainQueries ? t.length - query : kTrainQueries;
    CopyRows(qkv + query * t.qkv_stride, t.qkv_stride, rows, t.head_dim, dim, s.q);
    CopyRows(static_cast<const T*>(t.d_output) + query * t.output_stride, t.output_stride, rows, t.head_dim, dim, s.dout);
    CopyRows(static_cast<const T*>(t.output) + query * t.output_stride, t.output_stride, rows, t.head_dim, dim, s.out);
    for (int r = 0; r < rows; ++r) {
      s.row_sum[r] = SumTerms(dim, [&](int64_t d, int) { return Mul(Load(s.out + r * dim + d), Load(s.dout + r * dim + d)); });
    }
    Clear(s.out, kTrainQueries * dim);  // from here on dQ
    for (int key = 0; key < query + rows; key += kTrainKeys) {
      ScoreGradients(t, s, query, rows, key, dim);
      const int keys = t.length - key < kTrainKeys ? t.length - key : kTrainKeys;
      SmallProduct(s.scores, 1, kTrainKeys, s.dout, dim, s.dv + key * dim, dim, keys, columns, rows, true);
      SmallProduct(s.dscores, 1, kTrainKeys, s.q, dim, s.dk + key * dim, dim, keys, columns, rows, true);
      SmallProduct(s.dscores, kTrainKeys, 1, s.keys + key * dim, dim, s.out, dim, rows, columns, keys, true);
    }
    StoreRows(s.out, dim, rows, t.head_dim, d_qkv + query * t.qkv_stride, t.qkv_stride);
  }
  StoreRows(s.dk, dim, t.length, t.head_dim, d_qkv + t.width, t.qkv_stride);
  StoreRows(s.dv, dim, t.length, t.head_dim, d_qkv + 2 * t.width, t.qkv_stride);
}

}  // namespace precis::kernels::PRECIS_ISA

#endif  // PRECIS_KERNELS_CPU_TRAIN_TRAIN_ATTENTION_H_
