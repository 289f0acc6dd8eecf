#include "kernels/cuda/element_io.h"
#include "kernels/cuda/ops/activation.h"
#include "kernels/cuda/ops_list.h"
#include "kernels/cuda/platform/launch.h"

namespace precis::kernels::PRECIS_GPU_NS {
namespace {

constexpr int kThreads = 256;

template <class T>
PRECIS_KERNEL(kThreads, 4) BiasActivationKernel(const GemmArgs p) {
  GridDependencyWait();
  GridDependencyLaunch();
  const int n = static_cast<int>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x);
  if (n >= p.n) return;
  const float bias = p.bias != nullptr ? p.bias[n] : 0.0f;
  for (int m = static_cast<int>(blockIdx.y); m < p.m; m += static_cast<int>(gridDim.y)) {
    T* y = static_cast<T*>(p.y) + m * p.y_stride + n;
    StoreElement(y, Activate(LoadElement(y) + bias, p.activation));
  }
}

}  // namespace

void BiasActivation(const GemmArgs& args, Stream stream) {
  const LaunchConfig config = {.grid = {(args.n + kThreads - 1) / kThreads, args.m < 1024 ? args.m : 1024}, .block = kThreads, .stream = stream};
  args.y_type == GpuType::kF32 ? Launch(BiasActivationKernel<float>, config, args) : Launch(BiasActivationKernel<Bf16>, config, args);
}

}  // namespace precis::kernels::PRECIS_GPU_NS
