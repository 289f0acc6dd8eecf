// With xhat = (x - mean) / deviation and g = dy * gain:  dx = (g - mean(g) - xhat * mean(g * xhat)) / deviation.
// A block takes every kBlocks-th row and keeps its columns' sums of dy * xhat and dy in shared memory; a second kernel adds the blocks' sums in order.

#include <cmath>

#include "kernels/backward/train_list.h"
#include "kernels/cuda/block_reduce.h"
#include "kernels/cuda/element_io.h"
#include "kernels/cuda/platform/launch.h"

namespace precis::kernels::PRECIS_GPU_NS {
namespace {

constexpr int kThreads = 256;
constexpr int kMaxBlocks = 264;  // two for each multiprocessor of a large GPU

int Blocks(int rows) { return rows < kMaxBlocks ? rows : kMaxBlocks; }

struct RowMoments {
  float mean;
  float inverse_deviation;
};

PRECIS_DEVICE RowMoments Moments(const float* x, int width, float epsilon, float* scratch) {
  float sum = 0;
  for (int c = threadIdx.x; c < width; c += kThreads) sum += x[c];
  const float mean = BlockSum<kThreads>(sum, scratch) / static_cast<float>(width);
  float squares = 0;
  for (int c = threadIdx.x; c < width; c += kThreads) squares += (x[c] - mean) * (x[c] - mean);
  const float variance = BlockSum<kThreads>(squares, scratch) / static_cast<float>(width);
  return {mean, 1.0f / ::sqrtf(variance + epsilon)};
}

// Adds row r's dx, and its dy * xhat and dy to the block's sums.
template <class T>
PRECIS_DEVICE void OneRow(const LayerNormBackwardArgs& a, int64_t r, float* scratch, float* gain_sums, float* bias_sums) {
  const float* x = a.x + r * a.width;
  const T* dy = static_cast<const T*>(a.dy) + r * a.width;
  const RowMoments m = Moments(x, a.width, a.epsilon, scratch);
  float sum = 0, dot = 0;
  for (int c = threadIdx.x; c < a.width; c += kThreads) {
    const float normal = (x[c] - m.mean) * m.inverse_deviation, d = LoadElement(dy + c);
    sum += d * a.gain[c];
    dot += d * a.gain[c] * normal;
    gain_sums[c] += d * normal;
    bias_sums[c] += d;
  }
  sum = BlockSum<kThreads>(sum, scratch) / static_cast<float>(a.width);
  dot = BlockSum<kThreads>(dot, scratch) / static_cast<float>(a.width);
  for (int c = threadIdx.x; c < a.width; c += kThreads) {
    const float normal = (x[c] - m.mean) * m.inverse_deviation;
    a.dx[r * a.width + c] += (LoadElement(dy + c) * a.gain[c] - sum - normal * dot) * m.inverse_deviation;
  }
}

template <class T>
PRECIS_KERNEL(kThreads, 2) RowsKernel(const PRECIS_GRID_CONSTANT LayerNormBackwardArgs a) {
  float* scratch = reinterpret_cast<float*>(DynamicShared());
  float* gain_sums = scratch + kThreads / 32;
  float* bias_sums = gain_sums + a.width;
  for (int c = threadIdx.x; c < a.width; c += kThreads) gain_sums[c] = bias_sums[c] = 0;
  for (int64_t r = blockIdx.x; r < a.rows; r += gridDim.x) OneRow<T>(a, r, scratch, gain_sums, bias_sums);
  // Each thread reads back only the columns that it wrote.
  float* partial = static_cast<float*>(a.workspace) + int64_t{2} * blockIdx.x * a.width;
  for (int c = threadIdx.x; c < a.width; c += kThreads) {
    partial[c] = gain_sums[c];
    partial[a.width + c] = bias_sums[c];
  }
}

PRECIS_KERNEL(kThreads, 1) ColumnsKernel(const PRECIS_GRID_CONSTANT LayerNormBackwardArgs a, int blocks) {
  const int c = blockIdx.x * kThreads + threadIdx.x;
  if (c >= a.width) return;
  const float* partial = static_cast<const float*>(a.workspace);
  float gain = 0, bias = 0;
  for (int64_t b = 0; b < blocks; ++b) {
    gain += partial[2 * b * a.width + c];
    bias += partial[(2 * b + 1) * a.width + c];
  }
  a.gain_gradient[c] += gain;
  a.bias_gradient[c] += bias;
}

}  // namespace

int64_t LayerNormBackwardWorkspaceBytes(int rows, int width) { return int64_t{2} * Blocks(rows) * width * int64_t{sizeof(float)}; }

void LayerNormBackward(const LayerNormBackwardArgs& args, Stream stream) {
  if (args.rows == 0) return;
  const int blocks = Blocks(args.rows);
  const int shared = (kThreads / 32 + 2 * args.width) * int{sizeof(float)};
  const LaunchConfig rows = {.grid = Dim3(blocks), .block = Dim3(kThreads), .shared_bytes = shared, .stream = stream};
  if (args.type == GpuType::kBf16) {
    Launch(RowsKernel<Bf16>, rows, args);
  } else {
    Launch(RowsKernel<float>, rows, args);
  }
  const LaunchConfig columns = {.grid = Dim3((args.width + kThreads - 1) / kThreads), .block = Dim3(kThreads), .stream = stream};
  Launch(ColumnsKernel, columns, args, blocks);
}

}  // namespace precis::kernels::PRECIS_GPU_NS
