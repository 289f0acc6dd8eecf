// Sums of columns in two passes: each block adds a run of rows for 256 columns; then a block adds the sums of 32 columns, its warps'
// shares in order.

#include "kernels/backward/train_list.h"
#include "kernels/cuda/element_io.h"
#include "kernels/cuda/platform/launch.h"

namespace precis::kernels::PRECIS_GPU_NS {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
constexpr int kRowsPerBlock = 128;

int RowBlocks(int rows) { return (rows + kRowsPerBlock - 1) / kRowsPerBlock; }

template <class T>
PRECIS_KERNEL(kThreads, 4) PartialKernel(const PRECIS_GRID_CONSTANT BiasBackwardArgs a) {
  const int c = blockIdx.x * kThreads + threadIdx.x;
  if (c >= a.width) return;
  const int begin = blockIdx.y * kRowsPerBlock;
  const int end = begin + kRowsPerBlock < a.rows ? begin + kRowsPerBlock : a.rows;
  const T* dy = static_cast<const T*>(a.dy) + c;
  float sum = 0;
  for (int64_t r = begin; r < end; ++r) sum += LoadElement(dy + r * a.stride);
  static_cast<float*>(a.workspace)[int64_t{blockIdx.y} * a.width + c] = sum;
}

PRECIS_KERNEL(kThreads, 1) TotalKernel(const PRECIS_GRID_CONSTANT BiasBackwardArgs a, int blocks) {
  float* sums = reinterpret_cast<float*>(DynamicShared());
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int c = static_cast<int>(blockIdx.x) * 32 + lane;
  const float* partial = static_cast<const float*>(a.workspace);
  float sum = 0;
  for (int64_t b = warp; c < a.width && b < blocks; b += kWarps) sum += partial[b * a.width + c];
  sums[threadIdx.x] = sum;
  SyncThreads();
  if (warp != 0 || c >= a.width) return;
  for (int w = 1; w < kWarps; ++w) sum += sums[32 * w + lane];
  a.bias_gradient[c] += sum;
}

}  // namespace

int64_t BiasBackwardWorkspaceBytes(int rows, int width) { return int64_t{RowBlocks(rows)} * width * int64_t{sizeof(float)}; }

void BiasBackward(const BiasBackwardArgs& args, Stream stream) {
  if (args.rows == 0) return;
  const int columns = (args.width + kThreads - 1) / kThreads, blocks = RowBlocks(args.rows);
  const LaunchConfig partial = {.grid = Dim3(columns, blocks), .block = Dim3(kThreads), .stream = stream};
  if (args.type == GpuType::kBf16) {
    Launch(PartialKernel<Bf16>, partial, args);
  } else {
    Launch(PartialKernel<float>, partial, args);
  }
  const LaunchConfig total = {.grid = Dim3((args.width + 31) / 32), .block = Dim3(kThreads), .shared_bytes = kThreads * int{sizeof(float)}, .stream = stream};
  Launch(TotalKernel, total, args, blocks);
}

}  // namespace precis::kernels::PRECIS_GPU_NS
