#include <algorithm>
#include <cstring>

#include "kernels/attention.h"

namespace precis::kernels {
namespace {

template <class Kv>
Kv Convert(float x);
template <>
float Convert<float>(float x) {
  return x;
}
template <>
uint16_t Convert<uint16_t>(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof(bits));
  if ((bits & 0x7fffffff) > 0x7f800000) return static_cast<uint16_t>((bits >> 16) | 0x40);
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

template <class Kv>
void WriteRow(const KvLayerView& cache, const float* keys, const float* values, int64_t slot) {
  const int64_t page = slot / kPageTokens * cache.page_stride_bytes;
  const int offset = static_cast<int>(slot % kPageTokens);
  Kv* page_keys = reinterpret_cast<Kv*>(cache.keys + page) + offset;
  Kv* page_values = reinterpret_cast<Kv*>(cache.values + page) + static_cast<int64_t>(offset) * cache.head_dim;
  const int64_t head_elements = static_cast<int64_t>(kPageTokens) * cache.head_dim;
  for (int head = 0; head < cache.heads; ++head) {
    for (int d = 0; d < cache.head_dim; ++d) {
      page_keys[head * head_elements + d * kPageTokens] = Convert<Kv>(keys[head * cache.head_dim + d]);
      page_values[head * head_elements + d] = Convert<Kv>(values[head * cache.head_dim + d]);
    }
  }
}

}  // namespace

void WriteKv(const KvLayerView& cache, const float* keys, const float* values, int64_t stride,
             absl::Span<const int64_t> slots, CpuIsa isa, ThreadPool& pool) {
  constexpr int64_t kRowsPerTask = kPageTokens;
  const int64_t rows = static_cast<int64_t>(slots.size());
  pool.ParallelFor((rows + kRowsPerTask - 1) / kRowsPerTask, [&](int64_t task, int) {
    const int64_t end = std::min(rows, (task + 1) * kRowsPerTask);
    for (int64_t r = task * kRowsPerTask; r < end; ++r) {
      if (cache.dtype == DType::kBf16) {
        WriteRow<uint16_t>(cache, keys + r * stride, values + r * stride, slots[r]);
      } else {
        WriteRow<float>(cache, keys + r * stride, values + r * stride, slots[r]);
      }
    }
  });
}

}  // namespace precis::kernels
