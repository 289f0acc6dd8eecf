// Version 1: a thread a row.
//
// The whole of flash attention is already here: scores are never stored. A row keeps its running maximum m, the sum l of exponentials and the weighted sum o
// of values, and shrinks both when the maximum grows:
//
//   m' = max(m, s)    l' = l 2^(m - m') + 2^(s - m')    o' = o 2^(m - m') + 2^(s - m') v
//
// Every thread reads every key and value before it from global memory, through the caches: 256 bytes for 256 floating-point operations.

#include "kernels/lab/lab.h"

namespace precis::kernels::PRECIS_GPU_NS::lab {
namespace {

constexpr int kRows = 128;

PRECIS_KERNEL(kRows, 1) Naive(LabArgs args) {
  const int head = static_cast<int>(blockIdx.y);
  const int row = static_cast<int>(blockIdx.x) * kRows + static_cast<int>(threadIdx.x);
  const int64_t base = static_cast<int64_t>(head) * args.tokens * kHeadDim;
  float q[kHeadDim], o[kHeadDim];
  PRECIS_UNROLL
  for (int d = 0; d < kHeadDim; ++d) {
    q[d] = ToFloat(args.q[base + static_cast<int64_t>(row) * kHeadDim + d]);
    o[d] = 0.0f;
  }
  float maximum = -1e30f, sum = 0.0f;
  for (int j = 0; j <= row; ++j) {
    const Bf16* key = args.k + base + static_cast<int64_t>(j) * kHeadDim;
    const Bf16* value = args.v + base + static_cast<int64_t>(j) * kHeadDim;
    float score = 0.0f;
    PRECIS_UNROLL
    for (int d = 0; d < kHeadDim; ++d) score = Fma(q[d], ToFloat(key[d]), score);
    score *= args.scale;
    const float now = score > maximum ? score : maximum;
    const float shrink = Exp2(maximum - now);
    const float p = Exp2(score - now);
    maximum = now;
    sum = Fma(sum, shrink, p);
    PRECIS_UNROLL
    for (int d = 0; d < kHeadDim; ++d) o[d] = Fma(o[d], shrink, p * ToFloat(value[d]));
  }
  PRECIS_UNROLL
  for (int d = 0; d < kHeadDim; ++d) args.o[base + static_cast<int64_t>(row) * kHeadDim + d] = ToBf16(o[d] / sum);
}

}  // namespace

void RunNaive(const LabArgs& args, Stream stream) {
  LaunchConfig config;
  config.grid = {args.tokens / kRows, args.heads, 1};
  config.block = {kRows, 1, 1};
  config.stream = stream;
  Launch(&Naive, config, args);
}

}  // namespace precis::kernels::PRECIS_GPU_NS::lab
