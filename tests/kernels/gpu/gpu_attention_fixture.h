#ifndef PRECIS_TESTS_KERNELS_GPU_GPU_ATTENTION_FIXTURE_H_
#define PRECIS_TESTS_KERNELS_GPU_GPU_ATTENTION_FIXTURE_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "kernels/gpu/gpu_ops.h"

namespace precis::kernels {

// The tokens of one sequence, [tokens][heads * head_dim] each, the same for the same seed; rounded to the type under test.
struct GpuSequenceData {
  GpuSequenceData(int tokens, int heads, int head_dim, GpuType type, uint64_t seed, float spread = 1.0f);
  int tokens;
  std::vector<float> query, keys, values;
};

// Rows [context - queries, context) of a sequence.
struct GpuPiece {
  const GpuSequenceData* data;
  int context;
  int queries;
};

// A kernel of the SIMT build and the workspace it wants.
struct GpuKernel {
  std::string name;
  void (*run)(const GpuAttentionArgs&, Stream);
  std::function<int64_t(const GpuAttentionArgs&)> workspace_bytes;
  bool is_decode = false;  // one row a sequence
  bool is_materialised = false;
};
const GpuKernel& FlashPrefillKernel();
const GpuKernel& StandardPrefillKernel();
const GpuKernel& FlashDecodeKernel();
const GpuKernel& StandardDecodeKernel();
std::vector<const GpuKernel*> AllKernels();

struct GpuCase {
  GpuType type = GpuType::kBf16;
  int heads = 2;
  int head_dim = 64;
  bool alibi = false;
  uint64_t page_seed = 1;        // order of pages in the arena
  int64_t workspace_bytes = -1;  // instead of what the kernel asks for
  bool counters = true;          // flash_decode joins splits in the same launch
  GemmMode mode = GemmMode::kInvariant;
  std::vector<float> slopes;     // instead of those of `heads`
};

struct GpuResult {
  std::vector<std::vector<float>> rows;         // of each piece, [queries][heads * head_dim]
  std::vector<std::vector<float>> log_sum_exp;  // of each piece, [heads][queries]
};

// Writes each piece's keys and values by the write_kv kernel into an arena whose pages lie in random order among unused ones, all full of NaN, and runs the pieces as
// one ragged batch, with output and workspace full of NaN and a row of nobody's between sequences. Expects that nothing else was written.
GpuResult RunPieces(const GpuKernel& kernel, const GpuCase& c, const std::vector<GpuPiece>& pieces);

// Errors of an output against the fp64 oracle, and what the gate allows: twice (on average one and a half times) the error of attention in bf16 with materialised scores, as PyTorch's
// math does it, plus twice the rounding of the result. In f32: 1e-5 of the largest value.
struct GpuErrors {
  double largest = 0, largest_allowed = 0, mean = 0, mean_allowed = 0, log_sum_exp = 0;
  double log_sum_exp_rounded = 0;  // what rounding the scores to bf16 may do to it
};
GpuErrors CompareToOracle(const GpuCase& c, const std::vector<GpuPiece>& pieces, const GpuResult& result);

// EXPECTs all of the above.
void ExpectGate(const GpuKernel& kernel, const GpuCase& c, const std::vector<GpuPiece>& pieces);

}  // namespace precis::kernels

#endif  // PRECIS_TESTS_KERNELS_GPU_GPU_ATTENTION_FIXTURE_H_
