// Attention for training the textbook way: scores, probabilities and their gradients are matrices in memory, [length][length] floats a head. To be compared
// with flash attention, and to check it: plain tiles of 64 x 64 in f32, no matrix units.
//
//   S = Q K^T scale + bias    P = softmax(S)    O = P V
//   dP = dO V^T    dS = P (dP - sum_j P dP) scale    dQ = dS K    dK = dS^T Q    dV = P^T dO

#include "kernels/backward/train_list.h"
#include "kernels/cuda/block_reduce.h"
#include "kernels/cuda/element_io.h"
#include "kernels/cuda/platform/launch.h"

namespace precis::kernels::PRECIS_GPU_NS {
namespace {

constexpr int kTile = 64;
constexpr int kDepth = 16;
constexpr int kThreads = 256;  // 16 x 16, each 4 x 4 elements
constexpr int kPitch = kTile + 4;
constexpr int kSharedBytes = 2 * kDepth * kPitch * int{sizeof(float)};
constexpr float kLog2e = 1.44269504f;

// One head of one sequence.
template <class T>
struct Head {
  PRECIS_DEVICE Head(const StandardAttentionArgs& a)
      : length(a.length[blockIdx.z]), square(a.square_begin[blockIdx.z] + static_cast<int64_t>(blockIdx.y) * length * length) {
    const int64_t row = a.begin[blockIdx.z], width = static_cast<int64_t>(a.heads) * a.head_dim, column = static_cast<int64_t>(blockIdx.y) * a.head_dim;
    qkv = static_cast<const T*>(a.qkv) + row * a.qkv_stride + column;
    d_qkv = static_cast<T*>(a.d_qkv) + row * a.qkv_stride + column;
    output = static_cast<T*>(a.output) + row * a.output_stride + column;
    d_output = static_cast<const T*>(a.d_output) + row * a.output_stride + column;
    part = width;
  }
  int length;
  int64_t square;  // where its matrices begin
  const T* qkv;
  T* d_qkv;
  T* output;
  const T* d_output;
  int64_t part;  // from q to k, from k to v
};

// acc += A B for the tile at (row, column): a(i, k) and b(k, j) give elements, 0 outside. `first` .. `last`: the depth that counts.
template <class A, class B>
PRECIS_DEVICE void MultiplyTile(const A& a, const B& b, int row, int column, int first, int last, float (&acc)[4][4]) {
  float* a_tile = reinterpret_cast<float*>(DynamicShared());
  float* b_tile = a_tile + kDepth * kPitch;
  const int thread = static_cast<int>(threadIdx.x), x = thread % 16, y = thread / 16;
  for (int k0 = first; k0 < last; k0 += kDepth) {
    for (int i = thread; i < kTile * kDepth; i += kThreads) {
      a_tile[i % kDepth * kPitch + i / kDepth] = k0 + i % kDepth < last ? a(row + i / kDepth, k0 + i % kDepth) : 0.0f;
      b_tile[i / kTile * kPitch + i % kTile] = k0 + i / kTile < last ? b(k0 + i / kTile, column + i % kTile) : 0.0f;
    }
    SyncThreads();
    for (int k = 0; k < kDepth; ++k) {
      PRECIS_UNROLL
      for (int i = 0; i < 4; ++i) {
        PRECIS_UNROLL
        for (int j = 0; j < 4; ++j) acc[i][j] = Fma(a_tile[k * kPitch + y * 4 + i], b_tile[k * kPitch + x * 4 + j], acc[i][j]);
      }
    }
    SyncThreads();
  }
}

// kGradient: dP = dO V^T; else S. Only tiles that touch the triangle.
template <class T, bool kGradient>
PRECIS_KERNEL(kThreads, 2) ScoresKernel(const PRECIS_GRID_CONSTANT StandardAttentionArgs a) {
  const Head<T> head(a);
  const int tiles = (a.max_length + kTile - 1) / kTile;
  const int row = static_cast<int>(blockIdx.x) / tiles * kTile, column = static_cast<int>(blockIdx.x) % tiles * kTile;
  if (column > row || row >= head.length) return;
  float acc[4][4] = {};
  const T* left = kGradient ? head.d_output : head.qkv;
  const int64_t left_stride = kGradient ? a.output_stride : a.qkv_stride;
  const T* right = head.qkv + (kGradient ? 2 : 1) * head.part;
  MultiplyTile([&](int i, int d) { return i < head.length ? LoadElement(left + i * left_stride + d) : 0.0f; },
               [&](int d, int j) { return j < head.length ? LoadElement(right + j * a.qkv_stride + d) : 0.0f; }, row, column, 0, a.head_dim, acc);
  float* out = (kGradient ? a.d_scores : a.probabilities) + head.square;
  const float slope = a.alibi_slopes != nullptr ? a.alibi_slopes[blockIdx.y] : 0.0f;
  const int x = static_cast<int>(threadIdx.x) % 16, y = static_cast<int>(threadIdx.x) / 16;
  for (int i = 0; i < 4; ++i) {
    for (int j = 0; j < 4; ++j) {
      const int r = row + y * 4 + i, c = column + x * 4 + j;
      if (r < head.length && c <= r) out[static_cast<int64_t>(r) * head.length + c] = kGradient ? acc[i][j] : acc[i][j] * a.scale - slope * static_cast<float>(r - c);
    }
  }
}

// A warp a row, in place; zeros above the diagonal.
template <class T>
PRECIS_KERNEL(kThreads, 2) SoftmaxKernel(const PRECIS_GRID_CONSTANT StandardAttentionArgs a) {
  const Head<T> head(a);
  const int row = static_cast<int>(blockIdx.x) * (kThreads / 32) + static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  if (row >= head.length) return;
  float* p = a.probabilities + head.square + static_cast<int64_t>(row) * head.length;
  float most = -3e38f, sum = 0;
  for (int j = lane; j <= row; j += 32) most = p[j] > most ? p[j] : most;
  most = WarpMax(most);
  for (int j = lane; j <= row; j += 32) sum += Exp2((p[j] - most) * kLog2e);
  const float scale = 1.0f / WarpSum(sum);
  for (int j = lane; j < head.length; j += 32) p[j] = j <= row ? Exp2((p[j] - most) * kLog2e) * scale : 0.0f;
}
template <class T>
PRECIS_KERNEL(kThreads, 2) SoftmaxBackwardKernel(const PRECIS_GRID_CONSTANT StandardAttentionArgs a) {
  const Head<T> head(a);
  const int row = static_cast<int>(blockIdx.x) * (kThreads / 32) + static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  if (row >= head.length) return;
  const float* p = a.probabilities + head.square + static_cast<int64_t>(row) * head.length;
  float* d = a.d_scores + head.square + static_cast<int64_t>(row) * head.length;
  float delta = 0;
  for (int j = lane; j <= row; j += 32) delta = Fma(p[j], d[j], delta);
  delta = WarpSum(delta);
  for (int j = lane; j < head.length; j += 32) d[j] = j <= row ? p[j] * (d[j] - delta) * a.scale : 0.0f;
}

enum class Mix : uint8_t { kOutput, kDq, kDk, kDv };

// A matrix of the triangle, or its transpose, times rows of head_dim.
template <class T, Mix kMix>
PRECIS_KERNEL(kThreads, 2) MixKernel(const PRECIS_GRID_CONSTANT StandardAttentionArgs a) {
  const Head<T> head(a);
  const int tiles = (a.max_length + kTile - 1) / kTile;
  const int row = static_cast<int>(blockIdx.x) % tiles * kTile, column = static_cast<int>(blockIdx.x) / tiles * kTile;
  if (row >= head.length) return;
  constexpr bool kTransposed = kMix == Mix::kDk || kMix == Mix::kDv;
  const float* w = (kMix == Mix::kOutput || kMix == Mix::kDv ? a.probabilities : a.d_scores) + head.square;
  const T* x = kMix == Mix::kDv ? head.d_output : head.qkv + (kMix == Mix::kOutput ? 2 : kMix == Mix::kDq ? 1 : 0) * head.part;
  const int64_t x_stride = kMix == Mix::kDv ? a.output_stride : a.qkv_stride;
  float acc[4][4] = {};
  const int end = row + kTile < head.length ? row + kTile : head.length;
  MultiplyTile(
      [&](int i, int k) {
        if (i >= head.length) return 0.0f;
        return kTransposed ? w[static_cast<int64_t>(k) * head.length + i] : w[static_cast<int64_t>(i) * head.length + k];
      },
      [&](int k, int d) { return d < a.head_dim ? LoadElement(x + k * x_stride + d) : 0.0f; }, row, column, kTransposed ? row : 0,
      kTransposed ? head.length : end, acc);
  T* out = kMix == Mix::kOutput ? head.output : head.d_qkv + (kMix == Mix::kDq ? 0 : kMix == Mix::kDk ? 1 : 2) * head.part;
  const int64_t out_stride = kMix == Mix::kOutput ? a.output_stride : a.qkv_stride;
  const int x_thread = static_cast<int>(threadIdx.x) % 16, y = static_cast<int>(threadIdx.x) / 16;
  for (int i = 0; i < 4; ++i) {
    for (int j = 0; j < 4; ++j) {
      const int r = row + y * 4 + i, d = column + x_thread * 4 + j;
      if (r < head.length && d < a.head_dim) StoreElement(out + r * out_stride + d, acc[i][j]);
    }
  }
}

struct Configs {
  LaunchConfig square, rows, mix;
};
Configs ConfigsOf(const StandardAttentionArgs& a, Stream stream) {
  const int64_t tiles = (a.max_length + kTile - 1) / kTile, columns = (a.head_dim + kTile - 1) / kTile;
  const auto config = [&](int64_t blocks) {
    return LaunchConfig{.grid = Dim3(blocks, a.heads, a.sequences), .block = Dim3(kThreads), .shared_bytes = kSharedBytes, .stream = stream};
  };
  return {config(tiles * tiles), config((a.max_length + kThreads / 32 - 1) / (kThreads / 32)), config(tiles * columns)};
}

template <class T>
void Forward(const StandardAttentionArgs& a, Stream stream) {
  const Configs c = ConfigsOf(a, stream);
  Launch(ScoresKernel<T, false>, c.square, a);
  Launch(SoftmaxKernel<T>, c.rows, a);
  Launch(MixKernel<T, Mix::kOutput>, c.mix, a);
}
template <class T>
void Backward(const StandardAttentionArgs& a, Stream stream) {
  const Configs c = ConfigsOf(a, stream);
  Launch(ScoresKernel<T, true>, c.square, a);
  Launch(SoftmaxBackwardKernel<T>, c.rows, a);
  Launch(MixKernel<T, Mix::kDq>, c.mix, a);
  Launch(MixKernel<T, Mix::kDk>, c.mix, a);
  Launch(MixKernel<T, Mix::kDv>, c.mix, a);
}

}  // namespace

void StandardAttentionForward(const StandardAttentionArgs& args, Stream stream) {
  if (args.sequences == 0 || args.max_length == 0) return;
  args.type == GpuType::kBf16 ? Forward<Bf16>(args, stream) : Forward<float>(args, stream);
}

void StandardAttentionBackward(const StandardAttentionArgs& args, Stream stream) {
  if (args.sequences == 0 || args.max_length == 0) return;
  args.type == GpuType::kBf16 ? Backward<Bf16>(args, stream) : Backward<float>(args, stream);
}

}  // namespace precis::kernels::PRECIS_GPU_NS
