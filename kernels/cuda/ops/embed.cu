#include "kernels/cuda/element_io.h"
#include "kernels/cuda/ops_list.h"
#include "kernels/cuda/platform/launch.h"

namespace precis::kernels::PRECIS_GPU_NS {
namespace {

constexpr int kThreads = 128;

PRECIS_DEVICE float Entry(const float* table, const float*, int64_t row, int width, int i) { return table[row * width + i]; }
PRECIS_DEVICE float Entry(const Bf16* table, const float*, int64_t row, int width, int i) { return ToFloat(table[row * width + i]); }
PRECIS_DEVICE float Entry(const int8_t* table, const float* scale, int64_t row, int width, int i) {
  return static_cast<float>(table[row * width + i]) * scale[row];
}

// A row a block.
template <class T>
PRECIS_KERNEL(kThreads, 8) EmbedKernel(const EmbedArgs p) {
  GridDependencyWait();
  GridDependencyLaunch();
  const int row = static_cast<int>(blockIdx.x);
  const int given = p.tokens[row], token = given < 0 ? p.chosen[~given] : given;
  for (int i = static_cast<int>(threadIdx.x); i < p.width; i += kThreads) {
    float x = Entry(static_cast<const T*>(p.token_table), p.token_scale, token, p.width, i);
    if (p.position_table != nullptr) x += Entry(static_cast<const T*>(p.position_table), p.position_scale, p.positions[row], p.width, i);
    p.x[static_cast<int64_t>(row) * p.width + i] = x;
  }
}

}  // namespace

void Embed(const EmbedArgs& args, Stream stream) {
  if (args.rows == 0) return;
  const LaunchConfig config = {.grid = args.rows, .block = kThreads, .stream = stream, .dependent = true};
  switch (args.table_type) {
    case GpuType::kF32: return Launch(EmbedKernel<float>, config, args);
    case GpuType::kBf16: return Launch(EmbedKernel<Bf16>, config, args);
    case GpuType::kI8: return Launch(EmbedKernel<int8_t>, config, args);
  }
}

}  // namespace precis::kernels::PRECIS_GPU_NS
