// Element by element: two reads, one write.

#include <cmath>

#include "kernels/backward/train_list.h"
#include "kernels/cuda/element_io.h"
#include "kernels/cuda/platform/launch.h"

namespace precis::kernels::PRECIS_GPU_NS {
namespace {

constexpr int kThreads = 256;
constexpr float kRootTwoOverPi = 0.7978845608028654f;
constexpr float kTanhCubic = 0.044715f;
constexpr float kRootHalf = 0.7071067811865476f;
constexpr float kInverseRootTwoPi = 0.3989422804014327f;

PRECIS_DEVICE float Sigmoid(float x) { return 1.0f / (1.0f + ::expf(-x)); }

// d/dx of each activation.
template <GpuActivation kActivation>
PRECIS_DEVICE float Slope(float x) {
  switch (kActivation) {
    case GpuActivation::kGeluTanh: {
      const float inner = kRootTwoOverPi * (x + kTanhCubic * x * x * x);
      const float t = ::tanhf(inner);
      return 0.5f * (1 + t) + 0.5f * x * (1 - t * t) * kRootTwoOverPi * (1 + 3 * kTanhCubic * x * x);
    }
    case GpuActivation::kGeluErf:
      return 0.5f * (1 + ::erff(x * kRootHalf)) + x * kInverseRootTwoPi * ::expf(-0.5f * x * x);
    case GpuActivation::kRelu:
      return x > 0 ? 1.0f : 0.0f;
    case GpuActivation::kSilu: {
      const float s = Sigmoid(x);
      return s * (1 + x * (1 - s));
    }
    case GpuActivation::kQuickGelu: {
      const float s = Sigmoid(1.702f * x);
      return s * (1 + 1.702f * x * (1 - s));
    }
    case GpuActivation::kNone:
      break;
  }
  return 1;
}

template <class T, GpuActivation kActivation>
PRECIS_KERNEL(kThreads, 4) ActivationBackwardKernel(const PRECIS_GRID_CONSTANT ActivationBackwardArgs a) {
  constexpr int kWide = kPerVector<T>;
  const int64_t begin = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * kWide;
  const T* x = static_cast<const T*>(a.x);
  const T* dy = static_cast<const T*>(a.dy);
  T* dx = static_cast<T*>(a.dx);
  if (begin + kWide <= a.count) {
    float value[kWide], gradient[kWide];
    LoadVector(x + begin, value);
    LoadVector(dy + begin, gradient);
    PRECIS_UNROLL
    for (int i = 0; i < kWide; ++i) gradient[i] *= Slope<kActivation>(value[i]);
    StoreVector(dx + begin, gradient);
    return;
  }
  for (int64_t i = begin; i < a.count; ++i) {
    StoreElement(dx + i, LoadElement(dy + i) * Slope<kActivation>(LoadElement(x + i)));
  }
}

template <class T, GpuActivation kActivation>
void Run(const ActivationBackwardArgs& args, Stream stream) {
  const int64_t per_block = int64_t{kThreads} * kPerVector<T>;
  const LaunchConfig config = {.grid = Dim3(static_cast<unsigned>((args.count + per_block - 1) / per_block)),
                               .block = Dim3(kThreads), .stream = stream};
  Launch(ActivationBackwardKernel<T, kActivation>, config, args);
}

template <class T>
void RunFor(const ActivationBackwardArgs& args, Stream stream) {
  switch (args.activation) {
    case GpuActivation::kNone: return Run<T, GpuActivation::kNone>(args, stream);
    case GpuActivation::kGeluTanh: return Run<T, GpuActivation::kGeluTanh>(args, stream);
    case GpuActivation::kGeluErf: return Run<T, GpuActivation::kGeluErf>(args, stream);
    case GpuActivation::kRelu: return Run<T, GpuActivation::kRelu>(args, stream);
    case GpuActivation::kSilu: return Run<T, GpuActivation::kSilu>(args, stream);
    case GpuActivation::kQuickGelu: return Run<T, GpuActivation::kQuickGelu>(args, stream);
  }
}

}  // namespace

void ActivationBackward(const ActivationBackwardArgs& args, Stream stream) {
  if (args.count == 0) return;
  if (args.type == GpuType::kBf16) {
    RunFor<Bf16>(args, stream);
  } else {
    RunFor<float>(args, stream);
  }
}

}  // namespace precis::kernels::PRECIS_GPU_NS
