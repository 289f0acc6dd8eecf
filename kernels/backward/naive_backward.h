#ifndef PRECIS_KERNELS_BACKWARD_NAIVE_BACKWARD_H_
#define PRECIS_KERNELS_BACKWARD_NAIVE_BACKWARD_H_

// The same gradients, one warp a row, no matrix units: for f32 and for head sizes without a tuned engine. Memory still grows only with the rows.

#include "kernels/backward/flash_backward_tile.h"
#include "kernels/cuda/block_reduce.h"
#include "kernels/cuda/element_io.h"

namespace precis::kernels::PRECIS_GPU_NS {

inline constexpr int kNaiveThreads = 128;
inline constexpr int kNaiveRows = kNaiveThreads / 32;
inline constexpr int kNaiveDimensions = 8;  // of a lane: head sizes up to 256

// A lane's dimensions of one row: lane, lane + 32, ...
struct LaneRow {
  float v[kNaiveDimensions] = {};

  template <class T>
  PRECIS_DEVICE void Load(const T* row, int head_dim) {
    PRECIS_UNROLL
    for (int i = 0; i < kNaiveDimensions; ++i) {
      const int d = i * 32 + static_cast<int>(threadIdx.x % 32);
      v[i] = d < head_dim ? LoadElement(row + d) : 0.0f;
    }
  }
  template <class T>
  PRECIS_DEVICE void Store(T* row, int head_dim, float scale) const {
    PRECIS_UNROLL
    for (int i = 0; i < kNaiveDimensions; ++i) {
      const int d = i * 32 + static_cast<int>(threadIdx.x % 32);
      if (d < head_dim) StoreElement(row + d, v[i] * scale);
    }
  }
  PRECIS_DEVICE void Add(const LaneRow& row, float factor) {
    PRECIS_UNROLL
    for (int i = 0; i < kNaiveDimensions; ++i) v[i] = Fma(row.v[i], factor, v[i]);
  }
  PRECIS_DEVICE float Dot(const LaneRow& row) const {
    float sum = 0;
    PRECIS_UNROLL
    for (int i = 0; i < kNaiveDimensions; ++i) sum = Fma(v[i], row.v[i], sum);
    return WarpSum(sum);
  }
};

template <class T, class Score>
PRECIS_KERNEL(kNaiveThreads, 2) NaiveBackwardKvKernel(const PRECIS_GRID_CONSTANT FlashBackwardArgs a) {
  const BackwardHead<T> head(a, blockIdx.y, blockIdx.z);
  const Score score(a, blockIdx.y);
  const int key = blockIdx.x * kNaiveRows + threadIdx.x / 32;
  if (key >= head.length) return;
  LaneRow k, v, dk, dv;
  k.Load(head.k + key * a.qkv_stride, a.head_dim);
  v.Load(head.v + key * a.qkv_stride, a.head_dim);
  for (int query = key; query < head.length; ++query) {
    LaneRow q, d_output;
    q.Load(head.q + query * a.qkv_stride, a.head_dim);
    d_output.Load(head.d_output + query * a.output_stride, a.head_dim);
    const float p = Probability(score, q.Dot(k), head.log_sum_exp[query] * kBackwardLog2e, key, query, head.length);
    dv.Add(d_output, p);
    dk.Add(q, p * (d_output.Dot(v) - head.delta[query]));
  }
  dk.Store(head.dk + key * a.qkv_stride, a.head_dim, a.scale);
  dv.Store(head.dv + key * a.qkv_stride, a.head_dim, 1.0f);
}

template <class T, class Score>
PRECIS_KERNEL(kNaiveThreads, 2) NaiveBackwardQKernel(const PRECIS_GRID_CONSTANT FlashBackwardArgs a) {
  const BackwardHead<T> head(a, blockIdx.y, blockIdx.z);
  const Score score(a, blockIdx.y);
  const int query = blockIdx.x * kNaiveRows + threadIdx.x / 32;
  if (query >= head.length) return;
  LaneRow q, d_output, dq;
  q.Load(head.q + query * a.qkv_stride, a.head_dim);
  d_output.Load(head.d_output + query * a.output_stride, a.head_dim);
  const float lse = head.log_sum_exp[query] * kBackwardLog2e;
  for (int key = 0; key <= query; ++key) {
    LaneRow k, v;
    k.Load(head.k + key * a.qkv_stride, a.head_dim);
    v.Load(head.v + key * a.qkv_stride, a.head_dim);
    const float p = Probability(score, q.Dot(k), lse, key, query, head.length);
    dq.Add(k, p * (d_output.Dot(v) - head.delta[query]));
  }
  dq.Store(head.dq + query * a.qkv_stride, a.head_dim, a.scale);
}

}  // namespace precis::kernels::PRECIS_GPU_NS

#endif  // PRECIS_KERNELS_BACKWARD_NAIVE_BACKWARD_H_
