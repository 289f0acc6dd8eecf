// 32 x 32 tiles through shared memory, one column of padding: reads and writes are both along rows, without bank conflicts.

#include "kernels/backward/train_list.h"
#include "kernels/cuda/element_io.h"
#include "kernels/cuda/platform/launch.h"

namespace precis::kernels::PRECIS_GPU_NS {
namespace {

constexpr int kTile = 32;
constexpr int kRowsAtOnce = 8;
constexpr int kThreads = kTile * kRowsAtOnce;

template <class T>
PRECIS_KERNEL(kThreads, 4) TransposeKernel(const PRECIS_GRID_CONSTANT TransposeArgs a) {
  T* tile = reinterpret_cast<T*>(DynamicShared());
  const int x = threadIdx.x % kTile, y = threadIdx.x / kTile;
  const int row = blockIdx.y * kTile, column = blockIdx.x * kTile;
  for (int i = y; i < kTile; i += kRowsAtOnce) {
    if (row + i < a.rows && column + x < a.columns) {
      tile[i * (kTile + 1) + x] = static_cast<const T*>(a.x)[(row + i) * a.x_stride + column + x];
    }
  }
  SyncThreads();
  for (int i = y; i < kTile; i += kRowsAtOnce) {
    if (column + i < a.columns && row + x < a.rows) {
      static_cast<T*>(a.y)[(column + i) * a.y_stride + row + x] = tile[x * (kTile + 1) + i];
    }
  }
}

template <class T>
void Run(const TransposeArgs& args, Stream stream) {
  const LaunchConfig config = {.grid = Dim3((args.columns + kTile - 1) / kTile, (args.rows + kTile - 1) / kTile),
                               .block = Dim3(kThreads), .shared_bytes = kTile * (kTile + 1) * int{sizeof(T)}, .stream = stream};
  Launch(TransposeKernel<T>, config, args);
}

}  // namespace

void Transpose(const TransposeArgs& args, Stream stream) {
  if (args.rows == 0 || args.columns == 0) return;
  if (args.type == GpuType::kBf16) {
    Run<Bf16>(args, stream);
  } else {
    Run<float>(args, stream);
  }
}

}  // namespace precis::kernels::PRECIS_GPU_NS
