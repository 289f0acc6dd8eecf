// Gradients of flash attention: delta = rowsum(O dO), then dK, dV and dQ (flash_backward_kv.h, flash_backward_q.h).

#include "kernels/backward/flash_backward_kv.h"
#include "kernels/backward/flash_backward_q.h"
#include "kernels/backward/naive_backward.h"
#include "kernels/backward/train_list.h"
#include "kernels/cuda/platform/launch.h"

namespace precis::kernels::PRECIS_GPU_NS {
namespace {

constexpr int kRowThreads = 128;

unsigned Ceil(int64_t value, int64_t by) { return static_cast<unsigned>((value + by - 1) / by); }

// One warp a row and head.
template <class T>
PRECIS_KERNEL(kRowThreads, 4) DeltaKernel(const PRECIS_GRID_CONSTANT FlashBackwardArgs a) {
  const BackwardHead<T> head(a, blockIdx.y, blockIdx.z);
  const int row = blockIdx.x * (kRowThreads / 32) + threadIdx.x / 32;
  if (row >= head.length) return;
  const T* output = static_cast<const T*>(a.output) + (int64_t{a.begin[blockIdx.z]} + row) * a.output_stride + int64_t{blockIdx.y} * a.head_dim;
  const T* d_output = head.d_output + row * a.output_stride;
  float sum = 0;
  for (int d = threadIdx.x % 32; d < a.head_dim; d += 32) sum = Fma(LoadElement(output + d), LoadElement(d_output + d), sum);
  sum = WarpSum(sum);
  if (threadIdx.x % 32 == 0) const_cast<float*>(head.delta)[row] = sum;
}

// Clears the f32 sums of dQ, or rounds them to dQ.
template <bool kClear>
PRECIS_KERNEL(kRowThreads, 4) DqKernel(const PRECIS_GRID_CONSTANT FlashBackwardArgs a) {
  const BackwardHead<Bf16> head(a, blockIdx.y, blockIdx.z);
  const int64_t width = int64_t{a.heads} * a.head_dim;
  for (int i = threadIdx.x; i < 16 * a.head_dim; i += kRowThreads) {
    const int row = blockIdx.x * 16 + i / a.head_dim, d = i % a.head_dim;
    if (row >= head.length) return;
    float* sum = head.dq_sum + row * width + d;
    if (kClear) {
      *sum = 0;
    } else {
      head.dq[row * a.qkv_stride + d] = ToBf16(*sum);
    }
  }
}

template <class Kernel>
void LaunchRows(Kernel kernel, const FlashBackwardArgs& args, int rows_per_block, int threads, int shared, Stream stream) {
  Launch(kernel,
         LaunchConfig{.grid = Dim3(Ceil(args.max_length, rows_per_block), args.heads, args.sequences), .block = Dim3(threads),
                      .shared_bytes = shared, .stream = stream},
         args);
}

template <int kHeadDim, class Score>
void RunTiled(const FlashBackwardArgs& args, Stream stream) {
  using Kv = BackwardKvShape<kHeadDim, kHeadDim <= 64 ? 2 : 1>;
  using Q = BackwardQShape<kHeadDim>;
  if (args.deterministic) {
    LaunchRows(FlashBackwardKvKernel<Kv, Score, false>, args, Kv::kKeys, Kv::kThreads, Kv::kSharedBytes, stream);
    LaunchRows(FlashBackwardQKernel<Q, Score>, args, Q::kQueries, Q::kThreads, Q::kSharedBytes, stream);
    return;
  }
  LaunchRows(DqKernel<true>, args, 16, kRowThreads, 0, stream);
  LaunchRows(FlashBackwardKvKernel<Kv, Score, true>, args, Kv::kKeys, Kv::kThreads, Kv::kSharedBytes, stream);
  LaunchRows(DqKernel<false>, args, 16, kRowThreads, 0, stream);
}

template <class T, class Score>
void RunNaive(const FlashBackwardArgs& args, Stream stream) {
  LaunchRows(NaiveBackwardKvKernel<T, Score>, args, kNaiveRows, kNaiveThreads, 0, stream);
  LaunchRows(NaiveBackwardQKernel<T, Score>, args, kNaiveRows, kNaiveThreads, 0, stream);
}

template <class Score>
void RunWith(const FlashBackwardArgs& args, Stream stream) {
  if (args.type == GpuType::kF32) return RunNaive<float, Score>(args, stream);
  switch (args.head_dim) {
    case 32: return RunTiled<32, Score>(args, stream);
    case 64: return RunTiled<64, Score>(args, stream);
    case 80: return RunTiled<80, Score>(args, stream);
    case 96: return RunTiled<96, Score>(args, stream);
    case 128: return RunTiled<128, Score>(args, stream);
    default: return RunNaive<Bf16, Score>(args, stream);
  }
}

}  // namespace

int64_t FlashBackwardWorkspaceBytes(int rows, int heads, int head_dim, bool deterministic) {
  const int64_t delta = int64_t{rows} * heads, dq = deterministic ? 0 : delta * head_dim;
  return (delta + dq) * int64_t{sizeof(float)};
}

void FlashBackward(const FlashBackwardArgs& args, Stream stream) {
  if (args.sequences == 0 || args.max_length == 0) return;
  const int rows = kRowThreads / 32;
  if (args.type == GpuType::kBf16) {
    LaunchRows(DeltaKernel<Bf16>, args, rows, kRowThreads, 0, stream);
  } else {
    LaunchRows(DeltaKernel<float>, args, rows, kRowThreads, 0, stream);
  }
  if (args.alibi_slopes != nullptr) {
    RunWith<AlibiScore>(args, stream);
  } else {
    RunWith<LearnedScore>(args, stream);
  }
}

}  // namespace precis::kernels::PRECIS_GPU_NS
