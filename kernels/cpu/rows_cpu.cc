#include <cmath>

#include "kernels/cpu/dispatch.h"
#include "kernels/ops.h"

namespace precis::kernels {

void LayerNorm(const float* x, const float* gain, const float* bias, float epsilon, int64_t rows, int64_t size,
               float* y, CpuIsa isa, ThreadPool& pool) {
  const CpuKernels& kernels = KernelsFor(isa);
  // A row takes well under a microsecond; waking a thread for a few doesn't pay.
  constexpr int64_t kRowsPerTask = 16;
  pool.ParallelFor((rows + kRowsPerTask - 1) / kRowsPerTask, [&](int64_t task, int) {
    const int64_t end = std::min(rows, (task + 1) * kRowsPerTask);
    for (int64_t r = task * kRowsPerTask; r < end; ++r) {
      kernels.layer_norm(x + r * size, gain, bias, epsilon, size, y + r * size);
    }
  });
}

int64_t ArgMax(absl::Span<const float> values, CpuIsa isa) {
  const int64_t best = KernelsFor(isa).arg_max(values.data(), static_cast<int64_t>(values.size()));
  if (values.empty() || !std::isnan(values[best])) return best;
  // Starts with NaN and nothing is above -inf: the first that is no NaN, if there is one.
  for (size_t i = 0; i < values.size(); ++i) {
    if (!std::isnan(values[i])) return static_cast<int64_t>(i);
  }
  return 0;
}

}  // namespace precis::kernels
