#include "kernels/cuda/ops/norm_row.h"
#include "kernels/cuda/ops_list.h"
#include "kernels/cuda/platform/launch.h"

namespace precis::kernels::PRECIS_GPU_NS {
namespace {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / 32;
constexpr int kScratchFloats = 32;  // more than BlockSum needs; keeps the row aligned

// x += delta + delta_bias, of one row.
template <class T, int kNormVectors>
PRECIS_DEVICE void AddDelta(const LayerNormArgs& p, NormValues<kNormVectors>& values, int64_t row, int lane) {
  const T* delta = static_cast<const T*>(p.delta) + row * p.width;
  PRECIS_UNROLL
  for (int i = 0; i < kNormVectors; ++i) {
    const int column = 4 * (lane + 32 * i);
    if (column >= p.width) continue;
    float add[4], bias[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    LoadFour(delta + column, add);
    if (p.delta_bias != nullptr) LoadFour(p.delta_bias + column, bias);
    PRECIS_UNROLL
    for (int e = 0; e < 4; ++e) values.v[i][e] += add[e] + bias[e];
    StoreVector(p.x + row * p.width + column, values.v[i]);
  }
}

// A row a warp: for widths that are multiples of 4 up to 128 kNormVectors.
template <class T, int kNormVectors>
PRECIS_KERNEL(kThreads, 2) LayerNormWarpKernel(const LayerNormArgs p) {
  const int i = static_cast<int>(blockIdx.x) * kWarps + static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  GridDependencyWait();
  GridDependencyLaunch();
  if (i >= p.rows) return;
  const int64_t row = p.row_index != nullptr ? p.row_index[i] : i;
  NormValues<kNormVectors> values;
  values.Load(p.x + row * p.width, p.width, lane);
  if (p.delta != nullptr) AddDelta<T, kNormVectors>(p, values, row, lane);
  const NormFactors factors = values.Factors(p.width, p.epsilon, lane);
  T* y = static_cast<T*>(p.y) + static_cast<int64_t>(i) * p.width;
  PRECIS_UNROLL
  for (int v = 0; v < kNormVectors; ++v) {
    const int column = 4 * (lane + 32 * v);
    if (column >= p.width) continue;
    float gain[4], bias[4], out[4];
    LoadVector(p.gain + column, gain);
    LoadVector(p.bias + column, bias);
    PRECIS_UNROLL
    for (int e = 0; e < 4; ++e) out[e] = Normalised(values.v[v][e], factors, gain[e], bias[e]);
    StoreFour(y + column, out);
  }
}

// Any width, a row a block: read once into shared memory, then two passes over it.
template <class T>
PRECIS_KERNEL(kThreads, 8) LayerNormBlockKernel(const LayerNormArgs p) {
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
      v += LoadElement(delta + c) + (p.delta_bias != nullptr ? p.delta_bias[c] : 0.0f);
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
  const NormFactors factors = {mean, Rsqrt(BlockSum<kThreads>(squares, scratch) / static_cast<float>(p.width) + p.epsilon)};
  T* y = static_cast<T*>(p.y) + static_cast<int64_t>(i) * p.width;
  for (int c = thread; c < p.width; c += kThreads) StoreElement(y + c, Normalised(values[c], factors, p.gain[c], p.bias[c]));
}

template <class T>
void LaunchNorm(const LayerNormArgs& args, Stream stream) {
  const auto aligned = [](const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; };
  const bool vectors = args.width % 4 == 0 && aligned(args.x) && aligned(args.y) && aligned(args.gain) && aligned(args.bias) && aligned(args.delta) &&
                       aligned(args.delta_bias);
  if (vectors && args.width <= 2048) {
    const LaunchConfig config = {.grid = (args.rows + kWarps - 1) / kWarps, .block = kThreads, .stream = stream, .dependent = true};
    if (args.width <= 512) return Launch(LayerNormWarpKernel<T, 4>, config, args);
    return args.width <= 1024 ? Launch(LayerNormWarpKernel<T, 8>, config, args) : Launch(LayerNormWarpKernel<T, 16>, config, args);
  }
  Launch(LayerNormBlockKernel<T>,
         {.grid = args.rows, .block = kThreads, .shared_bytes = (kScratchFloats + args.width) * 4, .stream = stream, .dependent = true}, args);
}

}  // namespace

void LayerNorm(const LayerNormArgs& args, Stream stream) {
  if (args.rows == 0) return;
  args.type == GpuType::kF32 ? LaunchNorm<float>(args, stream) : LaunchNorm<Bf16>(args, stream);
}

}  // namespace precis::kernels::PRECIS_GPU_NS
