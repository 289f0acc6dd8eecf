// What the trainer's forward and backward passes need element by element: an activation into another buffer, and f32 to T with dropout on the way.

#include "kernels/backward/drop_four.h"
#include "kernels/backward/train_list.h"
#include "kernels/cuda/element_io.h"
#include "kernels/cuda/ops/activation.h"
#include "kernels/cuda/platform/launch.h"

namespace precis::kernels::PRECIS_GPU_NS {
namespace {

constexpr int kThreads = 256;

template <class T>
PRECIS_KERNEL(kThreads, 4) ActivateKernel(const PRECIS_GRID_CONSTANT ActivationArgs a) {
  constexpr int kWide = kPerVector<T>;
  const int64_t begin = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * kWide;
  const T* x = static_cast<const T*>(a.x);
  T* y = static_cast<T*>(a.y);
  if (begin + kWide <= a.count) {
    float value[kWide];
    LoadVector(x + begin, value);
    PRECIS_UNROLL
    for (int i = 0; i < kWide; ++i) value[i] = Activate(value[i], a.activation);
    StoreVector(y + begin, value);
    return;
  }
  for (int64_t i = begin; i < a.count; ++i) StoreElement(y + i, Activate(LoadElement(x + i), a.activation));
}

// Four elements a thread share one Philox block, as in dropout.cu.
template <class T>
PRECIS_KERNEL(kThreads, 4) ConvertKernel(const PRECIS_GRID_CONSTANT ConvertArgs a, uint32_t threshold, float scale) {
  const int64_t begin = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * 4;
  if (begin >= a.count) return;
  Random4 random = {{~0u, ~0u, ~0u, ~0u}};
  if (threshold > 0) random = Philox(begin / 4, a.stream, a.seed);
  DropFour(random, threshold, scale, a.x + begin, static_cast<T*>(a.y) + begin, a.count - begin);
}

LaunchConfig Config(int64_t count, int per_thread, Stream stream) {
  const int64_t per_block = int64_t{kThreads} * per_thread;
  return {.grid = Dim3(static_cast<unsigned>((count + per_block - 1) / per_block)), .block = Dim3(kThreads), .stream = stream};
}

}  // namespace

void ActivationForward(const ActivationArgs& args, Stream stream) {
  if (args.count == 0) return;
  if (args.type == GpuType::kBf16) {
    Launch(ActivateKernel<Bf16>, Config(args.count, kPerVector<Bf16>, stream), args);
  } else {
    Launch(ActivateKernel<float>, Config(args.count, kPerVector<float>, stream), args);
  }
}

void Convert(const ConvertArgs& args, Stream stream) {
  if (args.count == 0) return;
  const uint32_t threshold = static_cast<uint32_t>(static_cast<double>(args.rate) * 4294967296.0);
  const float scale = 1.0f / (1.0f - args.rate);
  if (args.type == GpuType::kBf16) {
    Launch(ConvertKernel<Bf16>, Config(args.count, 4, stream), args, threshold, scale);
  } else {
    Launch(ConvertKernel<float>, Config(args.count, 4, stream), args, threshold, scale);
  }
}

}  // namespace precis::kernels::PRECIS_GPU_NS
