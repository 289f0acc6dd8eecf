#ifndef PRECIS_KERNELS_CUDA_OPS_ACTIVATION_H_
#define PRECIS_KERNELS_CUDA_OPS_ACTIVATION_H_

#include "kernels/cuda/platform/platform.h"
#include "kernels/gpu/gpu_ops.h"

namespace precis::kernels::PRECIS_GPU_NS {

inline constexpr float kActivationLog2E = 1.44269504088896340736f;

// x / (1 + e^-s)
PRECIS_DEVICE float TimesSigmoid(float x, float s) { return FastDivide(x, 1.0f + Exp2(-kActivationLog2E * s)); }

// Abramowitz and Stegun 7.1.26: absolute error 1.5e-7.
PRECIS_DEVICE float Erf(float x) {
  const float a = x < 0 ? -x : x;
  const float t = FastDivide(1.0f, Fma(0.3275911f, a, 1.0f));
  float p = 1.061405429f;
  p = Fma(p, t, -1.453152027f);
  p = Fma(p, t, 1.421413741f);
  p = Fma(p, t, -0.284496736f);
  p = Fma(p, t, 0.254829592f);
  const float tail = p * t * Exp2(-kActivationLog2E * a * a);
  return x < 0 ? tail - 1.0f : 1.0f - tail;
}

PRECIS_DEVICE float Activate(float x, GpuActivation activation) {
  switch (activation) {
    case GpuActivation::kNone: break;
    case GpuActivation::kGeluTanh: return TimesSigmoid(x, Fma(x * x * x, 0.044715f, x) * 1.5957691216057308f);
    case GpuActivation::kGeluErf: return 0.5f * x * (1.0f + Erf(x * 0.70710678118654752f));
    case GpuActivation::kRelu: return x < 0 ? 0.0f : x;
    case GpuActivation::kSilu: return TimesSigmoid(x, x);
    case GpuActivation::kQuickGelu: return TimesSigmoid(x, 1.702f * x);
  }
  return x;
}

}  // namespace precis::kernels::PRECIS_GPU_NS

#endif  // PRECIS_KERNELS_CUDA_OPS_ACTIVATION_H_
