#ifndef PRECIS_TESTS_GPU_SUPPORT_ENGINES_H_
#define PRECIS_TESTS_GPU_SUPPORT_ENGINES_H_

#include <cuda_runtime_api.h>

#include <functional>
#include <string>
#include <vector>

#include "kernels/gpu/gpu_ops.h"

namespace precis::gpu_test {

// A prefill attention kernel under test.
struct AttentionEngine {
  std::string name;
  std::function<void(const kernels::GpuAttentionArgs&, cudaStream_t)> run;
  bool tuned_variant = false;  // timed only with --variants
  bool any_head_dim = false;   // else 64 only
};
const std::vector<AttentionEngine>& AttentionEngines();

}  // namespace precis::gpu_test

#endif  // PRECIS_TESTS_GPU_SUPPORT_ENGINES_H_
