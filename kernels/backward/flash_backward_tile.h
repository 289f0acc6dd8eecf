#ifndef PRECIS_KERNELS_BACKWARD_FLASH_BACKWARD_TILE_H_
#define PRECIS_KERNELS_BACKWARD_FLASH_BACKWARD_TILE_H_

// What both passes of the flash backward share: how a score becomes a probability, and pointers to one head of one sequence.

#include "kernels/cuda/platform/platform.h"
#include "kernels/gpu/train_ops.h"

namespace precis::kernels::PRECIS_GPU_NS {

inline constexpr float kBackwardLog2e = 1.4426950408889634f;

// Positions only through the order of tokens.
struct LearnedScore {
  float scale_log2;
  PRECIS_DEVICE LearnedScore(const FlashBackwardArgs& a, int /*head*/) : scale_log2(a.scale * kBackwardLog2e) {}
  PRECIS_DEVICE float Log2(float dot, int /*key*/, int /*query*/) const { return dot * scale_log2; }
};
// ALiBi: minus slope times the distance, an exact integer.
struct AlibiScore {
  float scale_log2;
  float slope_log2;
  PRECIS_DEVICE AlibiScore(const FlashBackwardArgs& a, int head)
      : scale_log2(a.scale * kBackwardLog2e), slope_log2(a.alibi_slopes[head] * kBackwardLog2e) {}
  PRECIS_DEVICE float Log2(float dot, int key, int query) const {
    return Fma(slope_log2, static_cast<float>(key - query), dot * scale_log2);
  }
};

// P of a visible pair from its dot product: exp(score - log_sum_exp); 0 for a masked one, whatever the operands hold.
template <class Score>
PRECIS_DEVICE float Probability(const Score& score, float dot, float log_sum_exp_log2, int key, int query, int length) {
  const float p = Exp2(score.Log2(dot, key, query) - log_sum_exp_log2);
  return key <= query && query < length ? p : 0.0f;
}

// One head of one sequence: rows 0 .. length.
template <class T>
struct BackwardHead {
  const T *q, *k, *v, *d_output;
  T *dq, *dk, *dv;
  const float* log_sum_exp;
  const float* delta;
  float* dq_sum;  // [.][width] f32, for atomic additions
  int length;

  PRECIS_DEVICE BackwardHead(const FlashBackwardArgs& a, int head, int sequence) {
    const int64_t width = int64_t{a.heads} * a.head_dim, row = a.begin[sequence], column = int64_t{head} * a.head_dim;
    length = a.length[sequence];
    q = static_cast<const T*>(a.qkv) + row * a.qkv_stride + column;
    k = q + width;
    v = k + width;
    dq = static_cast<T*>(a.d_qkv) + row * a.qkv_stride + column;
    dk = dq + width;
    dv = dk + width;
    d_output = static_cast<const T*>(a.d_output) + row * a.output_stride + column;
    log_sum_exp = a.log_sum_exp + head * a.lse_stride + row;
    float* workspace = static_cast<float*>(a.workspace);
    delta = workspace + int64_t{head} * a.rows + row;
    dq_sum = workspace + int64_t{a.heads} * a.rows + row * width + column;
  }
};

}  // namespace precis::kernels::PRECIS_GPU_NS

#endif  // PRECIS_KERNELS_BACKWARD_FLASH_BACKWARD_TILE_H_
