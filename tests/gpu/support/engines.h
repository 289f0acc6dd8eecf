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
  bool log_sum_exp = true;  // writes it
  bool materialised = false;   // scores in memory: timed up to 4096 only
  bool alibi_only = false;     // differs from another only there
};
const std::vector<AttentionEngine>& AttentionEngines();

// A decode attention kernel: one row a sequence.
struct DecodeEngine {
  std::string name;
  std::function<void(const kernels::GpuAttentionArgs&, cudaStream_t)> run;
  std::function<int64_t(int heads, int head_dim, int sequences, int max_context)> workspace_bytes;
  bool tuned_variant = false;  // timed only with --variants
};
const std::vector<DecodeEngine>& DecodeEngines();

}  // namespace precis::gpu_test

#endif  // PRECIS_TESTS_GPU_SUPPORT_ENGINES_H_
