// With xhat = (x - mean) / deviation and g = dy * gain:  dx = (g - mean(g) - xhat * mean(g * xhat)) / deviation.
// Wide rows: a block takes every kBlocks-th row and keeps its columns' sums of dy * xhat and dy in shared memory. Others: a warp takes a row. A second kernel adds
// the blocks' sums in order.

#include <cmath>

#include "kernels/backward/train_list.h"
#include "kernels/cuda/lane_columns.h"
#include "kernels/cuda/platform/launch.h"

namespace precis::kernels::PRECIS_GPU_NS {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
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

// A warp's share of the work: each kWarps-th row of each gridDim-th group of rows. What it reads of a row is asked for at once.
template <class T, int kVectors>
struct WarpRows {
  LaneColumns<kVectors> gain, gain_sums, bias_sums;

  PRECIS_DEVICE void Row(const LayerNormBackwardArgs& a, int64_t r, int lane) {
    LaneColumns<kVectors> x, d, dx;
    x.Load(a.x + r * a.width, a.width, lane);
    d.Load(static_cast<const T*>(a.dy) + r * a.width, a.width, lane);
    dx.Load(a.dx + r * a.width, a.width, lane);
    const float over_width = 1.0f / static_cast<float>(a.width), inverse_deviation = Normalise(x, a, over_width, lane);
    float sum = 0, dot = 0;
    PRECIS_UNROLL
    for (int i = 0; i < kVectors; ++i) {
      PRECIS_UNROLL
      for (int e = 0; e < 4; ++e) {
        gain_sums.v[i][e] += d.v[i][e] * x.v[i][e];
        bias_sums.v[i][e] += d.v[i][e];
        d.v[i][e] *= gain.v[i][e];
        sum += d.v[i][e];
        dot += d.v[i][e] * x.v[i][e];
      }
    }
    sum = WarpSum(sum) * over_width;
    dot = WarpSum(dot) * over_width;
    PRECIS_UNROLL
    for (int i = 0; i < kVectors; ++i) {
      PRECIS_UNROLL
      for (int e = 0; e < 4; ++e) dx.v[i][e] += (d.v[i][e] - sum - x.v[i][e] * dot) * inverse_deviation;
    }
    dx.Store(a.dx + r * a.width, a.width, lane);
  }

  // x becomes xhat.
  PRECIS_DEVICE static float Normalise(LaneColumns<kVectors>& x, const LayerNormBackwardArgs& a, float over_width, int lane) {
    const float mean = WarpSum(x.Sum()) * over_width;
    float squares = 0;
    PRECIS_UNROLL
    for (int i = 0; i < kVectors; ++i) {
      if (4 * (lane + 32 * i) >= a.width) continue;
      PRECIS_UNROLL
      for (int e = 0; e < 4; ++e) {
        x.v[i][e] -= mean;
        squares += x.v[i][e] * x.v[i][e];
      }
    }
    const float inverse_deviation = 1.0f / ::sqrtf(WarpSum(squares) * over_width + a.epsilon);
    PRECIS_UNROLL
    for (int i = 0; i < kVectors; ++i) {
      PRECIS_UNROLL
      for (int e = 0; e < 4; ++e) x.v[i][e] *= inverse_deviation;
    }
    return inverse_deviation;
  }

  PRECIS_DEVICE void Clear() {
    PRECIS_UNROLL
    for (int i = 0; i < kVectors; ++i) {
      PRECIS_UNROLL
      for (int e = 0; e < 4; ++e) gain_sums.v[i][e] = bias_sums.v[i][e] = 0;
    }
  }
  // sums += the warp's, or = where `first`.
  PRECIS_DEVICE void AddTo(float* sums, int width, int lane, bool first) const {
    PRECIS_UNROLL
    for (int i = 0; i < kVectors; ++i) {
      PRECIS_UNROLL
      for (int e = 0; e < 4; ++e) {
        const int c = 4 * (lane + 32 * i) + e;
        if (c >= width) continue;
        sums[c] = gain_sums.v[i][e] + (first ? 0.0f : sums[c]);
        sums[width + c] = bias_sums.v[i][e] + (first ? 0.0f : sums[width + c]);
      }
    }
  }
};

// A row a warp, for widths that are multiples of 4 up to 128 kVectors: x, dy and dx are read once, a lane's columns' sums stay in registers; the block's warps are
// added in order.
template <class T, int kVectors>
PRECIS_KERNEL(kThreads, kVectors > 4 ? 1 : 2) WarpRowsKernel(const PRECIS_GRID_CONSTANT LayerNormBackwardArgs a) {
  float* sums = reinterpret_cast<float*>(DynamicShared());
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  WarpRows<T, kVectors> rows;
  rows.Clear();
  rows.gain.Load(a.gain, a.width, lane);
  for (int64_t r = int64_t{blockIdx.x} * kWarps + warp; r < a.rows; r += int64_t{gridDim.x} * kWarps) rows.Row(a, r, lane);
  for (int w = 0; w < kWarps; ++w) {
    if (w == warp) rows.AddTo(sums, a.width, lane, w == 0);
    SyncThreads();
  }
  float* partial = static_cast<float*>(a.workspace) + int64_t{2} * blockIdx.x * a.width;
  for (int c = threadIdx.x; c < 2 * a.width; c += kThreads) partial[c] = sums[c];
}

// 32 columns a block; each warp adds every kWarps-th block's sums, then the warps' are added in order.
PRECIS_KERNEL(kThreads, 1) ColumnsKernel(const PRECIS_GRID_CONSTANT LayerNormBackwardArgs a, int blocks) {
  float* sums = reinterpret_cast<float*>(DynamicShared());
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int c = static_cast<int>(blockIdx.x) * 32 + lane;
  const float* partial = static_cast<const float*>(a.workspace);
  float gain = 0, bias = 0;
  for (int64_t b = warp; c < a.width && b < blocks; b += kWarps) {
    gain += partial[2 * b * a.width + c];
    bias += partial[(2 * b + 1) * a.width + c];
  }
  sums[threadIdx.x] = gain;
  sums[kThreads + threadIdx.x] = bias;
  SyncThreads();
  if (warp != 0 || c >= a.width) return;
  for (int w = 1; w < kWarps; ++w) {
    gain += sums[32 * w + lane];
    bias += sums[kThreads + 32 * w + lane];
  }
  a.gain_gradient[c] += gain;
  a.bias_gradient[c] += bias;
}

template <class T>
void Rows(const LayerNormBackwardArgs& args, int blocks, Stream stream) {
  LaunchConfig config = {.grid = Dim3(blocks), .block = Dim3(kThreads), .shared_bytes = 2 * args.width * int{sizeof(float)}, .stream = stream};
  const bool vectors = args.width % 4 == 0 && FourAligned(args.x) && FourAligned(static_cast<const T*>(args.dy)) && FourAligned(args.dx) && FourAligned(args.gain);
  if (vectors && args.width <= 128 * 3) {
    Launch(WarpRowsKernel<T, 3>, config, args);
  } else if (vectors && args.width <= 128 * 4) {
    Launch(WarpRowsKernel<T, 4>, config, args);
  } else if (vectors && args.width <= 128 * 6) {
    Launch(WarpRowsKernel<T, 6>, config, args);
  } else {
    config.shared_bytes += kWarps * int{sizeof(float)};
    Launch(RowsKernel<T>, config, args);
  }
}

}  // namespace

int64_t LayerNormBackwardWorkspaceBytes(int rows, int width) { return int64_t{2} * Blocks(rows) * width * int64_t{sizeof(float)}; }

void LayerNormBackward(const LayerNormBackwardArgs& args, Stream stream) {
  if (args.rows == 0) return;
  const int blocks = Blocks(args.rows);
  args.type == GpuType::kBf16 ? Rows<Bf16>(args, blocks, stream) : Rows<float>(args, blocks, stream);
  const LaunchConfig columns = {.grid = Dim3((args.width + 31) / 32), .block = Dim3(kThreads), .shared_bytes = 2 * kThreads * int{sizeof(float)}, .stream = stream};
  Launch(ColumnsKernel, columns, args, blocks);
}

}  // namespace precis::kernels::PRECIS_GPU_NS
