#include "kernels/cuda/block_reduce.h"
#include "kernels/cuda/element_io.h"
#include "kernels/cuda/ops_list.h"
#include "kernels/cuda/platform/launch.h"

namespace precis::kernels::PRECIS_GPU_NS {
namespace {

constexpr int kThreads = 128;
constexpr int kScratchFloats = 32;  // more than BlockSum needs; keeps the row aligned

// A row a block: read once into shared memory, then two passes over it (mean, then squares of what is left), each sum in one order.
template <class T>
PRECIS_KERNEL(kThreads, 8) LayerNormKernel(const LayerNormArgs p) {
  float* scratch = reinterpret_cast<float*>(DynamicShared());
  float* values = scratch + kScratchFloats;
  GridDependencyWait();
  GridDependencyLaunch();
  const int i = static_cast<int>(blockIdx.x), thread = static_cast<int>(threadIdx.x);
  const int64_t row = p.row_index != nullptr ? p.row_index[i] : i;
  float* x = p.x + row * p.width;
  const T* delta = p.delta != nullptr ? static_cast<const T*>(p.delta) + row * p.width : nullptr;
  float sum = 0;
  for (int c = thread; c < p.width; c += kThreads) {
    float v = x[c];
    if (delta != nullptr) {
      v += LoadElement(delta + c);
      if (p.delta_bias != nullptr) v += p.delta_bias[c];
      x[c] = v;
    }
    values[c] = v;  // read again by this thread alone
    sum += v;
  }
  const float mean = BlockSum<kThreads>(sum, scratch) / static_cast<float>(p.width);
  float squares = 0;
  for (int c = thread; c < p.width; c += kThreads) {
    const float d = values[c] - mean;
    squares = Fma(d, d, squares);
  }
  const float factor = Rsqrt(BlockSum<kThreads>(squares, scratch) / static_cast<float>(p.width) + p.epsilon);
  T* y = static_cast<T*>(p.y) + static_cast<int64_t>(i) * p.width;
  for (int c = thread; c < p.width; c += kThreads) StoreElement(y + c, Fma((values[c] - mean) * factor, p.gain[c], p.bias[c]));
}

}  // namespace

void LayerNorm(const LayerNormArgs& args, Stream stream) {
  if (args.rows == 0) return;
  const LaunchConfig config = {
      .grid = args.rows, .block = kThreads, .shared_bytes = (kScratchFloats + args.width) * 4, .stream = stream, .dependent = true};
  args.type == GpuType::kF32 ? Launch(LayerNormKernel<float>, config, args) : Launch(LayerNormKernel<Bf16>, config, args);
}

}  // namespace precis::kernels::PRECIS_GPU_NS
