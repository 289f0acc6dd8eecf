#include <cmath>

#include "tests/gpu/support/attention_case.h"

namespace precis::gpu_test {
namespace {

constexpr int kThreads = 128;

struct Problem {
  kernels::GpuAttentionArgs args;
  double* reference;
  uint16_t* standard;
  double* log_sum_exp;
};

__device__ float Widen(uint16_t bits) { return __uint_as_float(static_cast<uint32_t>(bits) << 16); }
__device__ uint16_t Narrow(float value) {
  const uint32_t word = __float_as_uint(value);
  return static_cast<uint16_t>((word + 0x7FFF + ((word >> 16) & 1)) >> 16);
}
__device__ float Rounded(float value) { return Widen(Narrow(value)); }

__device__ const uint16_t* Slot(const Problem& p, const char* part, int sequence, int head, int token) {
  const kernels::GpuKvLayer& cache = p.args.cache;
  const int page = p.args.sequences.block_table[static_cast<int64_t>(sequence) * p.args.sequences.block_table_stride + token / 16];
  return reinterpret_cast<const uint16_t*>(part + page * cache.page_stride) + (head * 16 + token % 16) * cache.head_dim;
}

template <class T, class Op>
__device__ T BlockReduce(T value, T* scratch, Op op) {
  __syncthreads();
  scratch[threadIdx.x] = value;
  for (int step = kThreads / 2; step > 0; step /= 2) {
    __syncthreads();
    if (static_cast<int>(threadIdx.x) < step) scratch[threadIdx.x] = op(scratch[threadIdx.x], scratch[threadIdx.x + step]);
  }
  __syncthreads();
  return scratch[0];
}

// One row of one head a block: scores in shared memory, in double and as a bf16 attention has them.
__global__ void ReferenceRow(Problem p, int sequence, int max_context) {
  extern __shared__ double scores[];
  float* rounded = reinterpret_cast<float*>(scores + max_context);
  double* scratch = reinterpret_cast<double*>(rounded + max_context);
  const kernels::GpuSequences& s = p.args.sequences;
  const int dim = p.args.cache.head_dim;
  const int head = static_cast<int>(blockIdx.y);
  const int64_t row = s.query_begin[sequence] + static_cast<int>(blockIdx.x);
  const int position = s.context_length[sequence] - s.query_count[sequence] + static_cast<int>(blockIdx.x);
  const uint16_t* query = static_cast<const uint16_t*>(p.args.qkv) + row * p.args.qkv_stride + head * dim;
  const float slope = p.args.alibi_slopes != nullptr ? p.args.alibi_slopes[head] : 0.0f;
  const float root = Rounded(sqrtf(p.args.scale));
  double most = -INFINITY;
  for (int j = threadIdx.x; j <= position; j += kThreads) {
    const uint16_t* key = Slot(p, p.args.cache.keys, sequence, head, j);
    double exact = 0;
    float plain = 0;
    for (int d = 0; d < dim; ++d) {
      exact += static_cast<double>(Widen(query[d])) * Widen(key[d]);
      plain += Rounded(Widen(query[d]) * root) * Rounded(Widen(key[d]) * root);
    }
    scores[j] = exact * p.args.scale - static_cast<double>(slope) * (position - j);
    rounded[j] = Rounded(plain);
    if (p.args.alibi_slopes != nullptr) rounded[j] = Rounded(rounded[j] + Rounded(-slope * static_cast<float>(position - j)));
    most = fmax(most, scores[j]);
  }
  most = BlockReduce(most, scratch, [](double a, double b) { return fmax(a, b); });
  double sum = 0, rounded_sum = 0;
  for (int j = threadIdx.x; j <= position; j += kThreads) {
    scores[j] = exp(scores[j] - most);
    rounded[j] = expf(rounded[j] - static_cast<float>(most));
    sum += scores[j];
    rounded_sum += rounded[j];
  }
  const auto add = [](double a, double b) { return a + b; };
  sum = BlockReduce(sum, scratch, add);
  rounded_sum = BlockReduce(rounded_sum, scratch, add);
  const int64_t width = static_cast<int64_t>(p.args.cache.heads) * dim;
  for (int d = threadIdx.x; d < dim; d += kThreads) {
    double exact = 0;
    float plain = 0;
    for (int j = 0; j <= position; ++j) {
      const float value = Widen(Slot(p, p.args.cache.values, sequence, head, j)[d]);
      exact += scores[j] * value;
      plain += Rounded(rounded[j] / static_cast<float>(rounded_sum)) * value;
    }
    p.reference[row * width + head * dim + d] = exact / sum;
    p.standard[row * width + head * dim + d] = Narrow(plain);
  }
  if (threadIdx.x == 0) p.log_sum_exp[head * p.args.qkv_rows + row] = most + log(sum);
}

}  // namespace

AttentionReference ComputeReference(const AttentionCase& attention) {
  const size_t size = static_cast<size_t>(attention.rows()) * attention.width();
  DeviceArray<double> reference(size), log_sum_exp(static_cast<size_t>(attention.rows()) * attention.shape().heads);
  DeviceArray<uint16_t> standard(size);
  const Problem problem = {attention.Args(), reference.get(), standard.get(), log_sum_exp.get()};
  const int context = problem.args.sequences.max_context;
  const int even = (context + 1) / 2 * 2;  // keeps what follows aligned
  const int bytes = even * 12 + kThreads * 8;
  PRECIS_REQUIRE(cudaFuncSetAttribute(reinterpret_cast<const void*>(ReferenceRow), cudaFuncAttributeMaxDynamicSharedMemorySize, bytes));
  for (size_t s = 0; s < attention.shape().queries.size(); ++s) {
    const int rows = attention.shape().queries[s];
    if (rows == 0) continue;
    ReferenceRow<<<dim3(rows, attention.shape().heads), kThreads, bytes>>>(problem, static_cast<int>(s), even);
  }
  PRECIS_REQUIRE(cudaGetLastError());
  PRECIS_REQUIRE(cudaDeviceSynchronize());
  return {reference.Get(), standard.Get(), log_sum_exp.Get()};
}

}  // namespace precis::gpu_test
