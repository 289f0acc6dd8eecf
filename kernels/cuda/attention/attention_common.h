#ifndef PRECIS_KERNELS_CUDA_ATTENTION_ATTENTION_COMMON_H_
#define PRECIS_KERNELS_CUDA_ATTENTION_ATTENTION_COMMON_H_

// What the attention kernels share: how a page is addressed, dispatch by element type and head size, small reductions.

#include <cstdint>

#include "kernels/cuda/element_io.h"
#include "kernels/cuda/platform/platform.h"
#include "kernels/gpu/gpu_ops.h"

namespace precis::kernels::PRECIS_GPU_NS {

inline constexpr int kTokensPerPage = 16;
inline constexpr int kDecodeSplit = 256;  // keys of a decode split, at absolute positions
inline constexpr float kLog2E = 1.4426950408889634f;
inline constexpr float kLn2 = 0.6931471805599453f;

PRECIS_HOST_DEVICE constexpr int CeilDiv(int a, int b) { return (a + b - 1) / b; }
PRECIS_HOST_DEVICE constexpr int64_t CeilDiv64(int64_t a, int64_t b) { return (a + b - 1) / b; }
PRECIS_HOST_DEVICE constexpr int64_t RoundUp64(int64_t a, int64_t b) { return CeilDiv64(a, b) * b; }

PRECIS_DEVICE float NegativeInfinity() { return BitsToFloat(0xff800000u); }
PRECIS_DEVICE float Log(float x) {
#ifdef __CUDA_ARCH__
  return logf(x);
#else
  return __builtin_logf(x);
#endif
}
PRECIS_DEVICE float Maximum(float a, float b) { return a > b ? a : b; }

// One layer of the paged cache as kernels take it: all bytes, no types.
struct PagedKv {
  const char* keys;
  const char* values;
  int64_t page_stride;
};

// The sequences of a batch as kernels take them.
struct BatchRows {
  const int32_t* query_begin;
  const int32_t* query_count;
  const int32_t* context_length;
  const int32_t* block_table;
  int block_table_stride;
};

inline PagedKv MakePagedKv(const GpuKvLayer& cache) { return PagedKv{cache.keys, cache.values, cache.page_stride}; }
inline BatchRows MakeBatchRows(const GpuSequences& s) {
  return BatchRows{s.query_begin, s.query_count, s.context_length, s.block_table, s.block_table_stride};
}

// A head size as a type, so that a generic lambda can take it.
template <int kValue>
struct HeadDim {
  static constexpr int value = kValue;
};

// Calls f(HeadDim<d>{}) for the head sizes that are built; the engine refuses others when it loads a model.
template <class F>
inline void DispatchHeadDim(int head_dim, F&& f) {
  switch (head_dim) {
    case 32: return f(HeadDim<32>{});
    case 64: return f(HeadDim<64>{});
    case 80: return f(HeadDim<80>{});
    case 96: return f(HeadDim<96>{});
    case 128: return f(HeadDim<128>{});
    default: return;
  }
}

constexpr bool HeadDimSupported(int head_dim) {
  return head_dim == 32 || head_dim == 64 || head_dim == 80 || head_dim == 96 || head_dim == 128;
}

}  // namespace precis::kernels::PRECIS_GPU_NS

#endif  // PRECIS_KERNELS_CUDA_ATTENTION_ATTENTION_COMMON_H_
