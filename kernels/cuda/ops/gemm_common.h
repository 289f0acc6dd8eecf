#ifndef PRECIS_KERNELS_CUDA_OPS_GEMM_COMMON_H_
#define PRECIS_KERNELS_CUDA_OPS_GEMM_COMMON_H_

// What the product kernels share, so that each gives the same bits. An element of y is
//   split(0) + split(1) + ...,  split(i) = a chain of m16n8k16 products over k in [128 i, 128 i + 128), from zero
// whatever the shape of the tile: k = 0 .. 15 of 32, then 16 .. 31. Which k a product calls "first" is free as long as both operands agree: Hopper adds up the
// sixteen terms at once, in no order (checked bit for bit by precis-gpu-check, for mma.sync and for wgmma, whose steps are the same sixteen).
//
// Where w comes from memory a lane reads 16 bytes at a time, k = 8t .. 8t + 7 of 32 for lane t of a row, and then gives half of it to lane t ^ 2 (Exchanged):
// reading 8 bytes twice instead took a third longer.

#include "kernels/cuda/element_io.h"
#include "kernels/cuda/ops/activation.h"
#include "kernels/cuda/platform/launch.h"
#include "kernels/cuda/platform/ptx.h"
#include "kernels/gpu/gpu_ops.h"

namespace precis::kernels::PRECIS_GPU_NS {

inline constexpr int kSplit = 128;  // values of k

#ifdef PRECIS_SIMT
#define PRECIS_NO_UNROLL
#else
#define PRECIS_NO_UNROLL _Pragma("unroll 1")
#endif

// A lane's eight of 32 values of k of one row: words of two bf16.
struct Eight {
  uint32_t w[4];
};

PRECIS_DEVICE Eight ToEight(const Vec16& v) { return {{v.w[0], v.w[1], v.w[2], v.w[3]}}; }

// From k = 8t .. 8t + 7 of every lane t to, in words 0 and 1, four of k = 0 .. 15, in words 2 and 3 four of the others. The whole warp together.
PRECIS_DEVICE Eight Exchanged(Eight e, int lane) {
  const bool low = lane % 4 < 2;
  PRECIS_UNROLL
  for (int i = 0; i < 2; ++i) {
    const uint32_t got = ShuffleXor(low ? e.w[2 + i] : e.w[i], 2);
    (low ? e.w[2 + i] : e.w[i]) = got;
  }
  return e;
}

// Four bf16 each, of k = 0 .. 15 and of the others.
PRECIS_DEVICE Eight ToEight(uint64_t first, uint64_t second) {
  return {{static_cast<uint32_t>(first), static_cast<uint32_t>(first >> 32), static_cast<uint32_t>(second), static_cast<uint32_t>(second >> 32)}};
}

// int8 as bf16, exactly.
PRECIS_DEVICE Eight Widened(uint64_t bytes) {
  Eight r;
  PRECIS_UNROLL
  for (int i = 0; i < 4; ++i) {
    const uint64_t two = bytes >> (16 * i);
    r.w[i] = PackBf16(static_cast<float>(static_cast<int8_t>(two)), static_cast<float>(static_cast<int8_t>(two >> 8)));
  }
  return r;
}

// d += one product, over half (0 or 1) of 32 values of k: `low` is row lane / 4 of A, `high` row lane / 4 + 8, `b` column lane / 4 of B. Products of the same d
// wait for each other: callers go through all their tiles with one half, then with the other.
PRECIS_DEVICE void Multiply16(float (&d)[4], const Eight& low, const Eight& high, const Eight& b, int half) {
  const uint32_t a_words[4] = {low.w[2 * half], high.w[2 * half], low.w[2 * half + 1], high.w[2 * half + 1]};
  const uint32_t b_words[2] = {b.w[2 * half], b.w[2 * half + 1]};
  MmaBf16(d, a_words, b_words);
}

// The end of every product: y[m][n] from the sum over k, scaled, with the bias, activated.
PRECIS_DEVICE void StoreFinished(const GemmArgs& p, int m, int n, float value) {
  if (m >= p.m || n >= p.n) return;
  const int64_t at = m * p.y_stride + n;
  if (p.y_type == GpuType::kBf16) {
    static_cast<Bf16*>(p.y)[at] = ToBf16(value);
  } else {
    float* y = static_cast<float*>(p.y) + at;
    *y = p.accumulate ? *y + value : value;
  }
}

PRECIS_DEVICE float Finished(const GemmArgs& p, int n, float sum) {
  const float scale = p.w_type == GpuType::kI8 ? p.w_scale[n] : 1.0f;
  return Activate(Fma(sum, scale, p.bias != nullptr ? p.bias[n] : 0.0f), p.activation);
}

PRECIS_DEVICE void StoreOutput(const GemmArgs& p, int m, int n, float sum) {
  if (m < p.m && n < p.n) StoreFinished(p, m, n, Finished(p, n, sum));
}

// Columns n and n + 1, n even, finished.
PRECIS_DEVICE void StoreFinishedPair(const GemmArgs& p, int m, int n, float first, float second) {
  if (m >= p.m || n >= p.n) return;
  const uintptr_t size = p.y_type == GpuType::kBf16 ? 2 : 4;
  if (n + 1 >= p.n || p.y_stride % 2 != 0 || reinterpret_cast<uintptr_t>(p.y) % (2 * size) != 0) {
    StoreFinished(p, m, n, first);
    StoreFinished(p, m, n + 1, second);
    return;
  }
  const int64_t at = m * p.y_stride + n;
  if (p.y_type == GpuType::kBf16) {
    *reinterpret_cast<uint32_t*>(static_cast<Bf16*>(p.y) + at) = PackBf16(first, second);
    return;
  }
  uint64_t* y = reinterpret_cast<uint64_t*>(static_cast<float*>(p.y) + at);
  if (p.accumulate) {
    const uint64_t old = *y;
    first += BitsToFloat(static_cast<uint32_t>(old));
    second += BitsToFloat(static_cast<uint32_t>(old >> 32));
  }
  *y = FloatToBits(first) | static_cast<uint64_t>(FloatToBits(second)) << 32;
}

PRECIS_DEVICE void StoreOutputPair(const GemmArgs& p, int m, int n, float first, float second) {
  if (m < p.m && n < p.n) StoreFinishedPair(p, m, n, Finished(p, n, first), n + 1 < p.n ? Finished(p, n + 1, second) : 0.0f);
}

}  // namespace precis::kernels::PRECIS_GPU_NS

#endif  // PRECIS_KERNELS_CUDA_OPS_GEMM_COMMON_H_
