// The norm of all gradients, for clipping: sums in f64 (a f32 sum of 10^8 squares would lose the small ones), in one order.

#include <cmath>

#include "kernels/backward/train_list.h"
#include "kernels/cuda/platform/launch.h"

namespace precis::kernels::PRECIS_GPU_NS {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kPerBlock = 16384;

int64_t Blocks(int64_t count) { return (count + kPerBlock - 1) / kPerBlock; }

// The sum over the block, valid in thread 0: a tree whose shape is fixed.
PRECIS_DEVICE double BlockTree(double v, double* shared) {
  shared[threadIdx.x] = v;
  for (unsigned half = kThreads / 2; half > 0; half /= 2) {
    SyncThreads();
    if (threadIdx.x < half) shared[threadIdx.x] += shared[threadIdx.x + half];
  }
  return shared[0];
}

PRECIS_KERNEL(kThreads, 4) PartialKernel(const PRECIS_GRID_CONSTANT SquaredNormArgs a) {
  const int64_t begin = blockIdx.x * kPerBlock;
  const int64_t end = begin + kPerBlock < a.count ? begin + kPerBlock : a.count;
  double sum = 0;
  for (int64_t i = begin + threadIdx.x; i < end; i += kThreads) sum += static_cast<double>(a.values[i]) * a.values[i];
  const double total = BlockTree(sum, reinterpret_cast<double*>(DynamicShared()));
  if (threadIdx.x == 0) static_cast<double*>(a.workspace)[blockIdx.x] = total;
}

PRECIS_KERNEL(kThreads, 1) TotalKernel(const PRECIS_GRID_CONSTANT SquaredNormArgs a, int64_t blocks) {
  double sum = 0;
  for (int64_t i = threadIdx.x; i < blocks; i += kThreads) sum += static_cast<const double*>(a.workspace)[i];
  const double total = BlockTree(sum, reinterpret_cast<double*>(DynamicShared()));
  if (threadIdx.x == 0) *a.sum += total;
}

PRECIS_KERNEL(32, 1) ClipScaleKernel(const PRECIS_GRID_CONSTANT ClipScaleArgs a) {
  if (threadIdx.x != 0) return;
  const double norm = ::sqrt(*a.squared_norm);
  const bool finite = norm < 1e300;  // false for NaN and infinity
  const double factor = a.max_norm > 0 && norm > a.max_norm ? a.max_norm / norm : 1.0;
  *a.scale = finite ? static_cast<float>(a.base * factor) : 0.0f;
  *a.finite = finite ? 1 : 0;
}

}  // namespace

int64_t SquaredNormWorkspaceBytes(int64_t count) { return Blocks(count) * int64_t{sizeof(double)}; }

void SquaredNorm(const SquaredNormArgs& args, Stream stream) {
  if (args.count == 0) return;
  const int64_t blocks = Blocks(args.count);
  const int shared = kThreads * int{sizeof(double)};
  Launch(PartialKernel, LaunchConfig{.grid = Dim3(static_cast<unsigned>(blocks)), .block = Dim3(kThreads), .shared_bytes = shared, .stream = stream},
         args);
  Launch(TotalKernel, LaunchConfig{.grid = Dim3(1), .block = Dim3(kThreads), .shared_bytes = shared, .stream = stream}, args, blocks);
}

void ClipScale(const ClipScaleArgs& args, Stream stream) {
  Launch(ClipScaleKernel, LaunchConfig{.grid = Dim3(1), .block = Dim3(32), .stream = stream}, args);
}

}  // namespace precis::kernels::PRECIS_GPU_NS
