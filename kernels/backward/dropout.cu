// Four elements share one Philox block: counter (element / 4, stream), key seed.

#include "kernels/backward/drop_four.h"
#include "kernels/backward/train_list.h"
#include "kernels/cuda/platform/launch.h"

namespace precis::kernels::PRECIS_GPU_NS {
namespace {

constexpr int kThreads = 256;

template <class T>
PRECIS_KERNEL(kThreads, 4) DropoutKernel(const PRECIS_GRID_CONSTANT DropoutArgs a, uint32_t threshold, float scale) {
  const int64_t begin = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * 4;
  if (begin >= a.count) return;
  const Random4 random = Philox(begin / 4, a.stream, a.seed);
  DropFour(random, threshold, scale, static_cast<const T*>(a.x) + begin, static_cast<T*>(a.y) + begin, a.count - begin);
}

}  // namespace

void Dropout(const DropoutArgs& args, Stream stream) {
  if (args.count == 0) return;
  const uint32_t threshold = static_cast<uint32_t>(static_cast<double>(args.rate) * 4294967296.0);
  const float scale = 1.0f / (1.0f - args.rate);
  const int64_t per_block = int64_t{kThreads} * 4;
  const LaunchConfig config = {.grid = Dim3(static_cast<unsigned>((args.count + per_block - 1) / per_block)),
                               .block = Dim3(kThreads), .stream = stream};
  if (args.type == GpuType::kBf16) {
    Launch(DropoutKernel<Bf16>, config, args, threshold, scale);
  } else {
    Launch(DropoutKernel<float>, config, args, threshold, scale);
  }
}

}  // namespace precis::kernels::PRECIS_GPU_NS
