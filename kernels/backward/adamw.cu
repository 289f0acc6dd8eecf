// Reads w, g, m, v and writes w, m, v and the bf16 copy: 30 bytes a weight, so memory-bound.

#include <cmath>

#include "kernels/backward/train_list.h"
#include "kernels/cuda/element_io.h"
#include "kernels/cuda/platform/launch.h"

namespace precis::kernels::PRECIS_GPU_NS {
namespace {

constexpr int kThreads = 256;

PRECIS_KERNEL(kThreads, 4) AdamWKernel(const PRECIS_GRID_CONSTANT AdamWArgs a, float correction1, float correction2) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= a.count) return;
  const float g = a.gradient_scale != nullptr ? a.gradient[i] * *a.gradient_scale : a.gradient[i];
  const float m = a.beta1 * a.first[i] + (1 - a.beta1) * g;
  const float v = a.beta2 * a.second[i] + (1 - a.beta2) * g * g;
  float w = a.weights[i];
  w -= a.rate * (m / correction1 / (::sqrtf(v / correction2) + a.epsilon) + a.decay * w);
  a.first[i] = m;
  a.second[i] = v;
  a.weights[i] = w;
  if (a.working != nullptr) static_cast<Bf16*>(a.working)[i] = ToBf16(w);
}

}  // namespace

void AdamW(const AdamWArgs& args, Stream stream) {
  if (args.count == 0) return;
  const double step = static_cast<double>(args.step);
  const float correction1 = static_cast<float>(1 - std::pow(static_cast<double>(args.beta1), step));
  const float correction2 = static_cast<float>(1 - std::pow(static_cast<double>(args.beta2), step));
  const LaunchConfig config = {.grid = Dim3(static_cast<unsigned>((args.count + kThreads - 1) / kThreads)),
                               .block = Dim3(kThreads), .stream = stream};
  Launch(AdamWKernel, config, args, correction1, correction2);
}

}  // namespace precis::kernels::PRECIS_GPU_NS
