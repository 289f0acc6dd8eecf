#ifndef PRECIS_KERNELS_GPU_TRAIN_OPS_H_
#define PRECIS_KERNELS_GPU_TRAIN_OPS_H_

// What training adds to gpu_ops.h: gradients of the row operations, the loss, the optimiser. Plain C++ as there. Every sum has one order, so that a step's
// gradients are bitwise the same from run to run. T is the activation type (bf16, or f32 in tests).

#include <cstdint>

#include "kernels/gpu/gpu_ops.h"
#include "kernels/gpu/stream.h"

namespace precis::kernels {

// Cross-entropy of each row against its target, and its gradient in place:
//   loss[r] = weight[r] * (log sum_j exp(logits[r][j]) - logits[r][target])
//   logits[r][j] <- gradient_scale * weight[r] * (softmax(logits[r])[j] - [j == target])
// Two reads and one write of the logits; probabilities are never stored. A target < 0 is ignored: loss 0, gradient 0.
struct CrossEntropyArgs {
  void* logits;  // [rows][stride], T, 16-byte aligned
  int64_t stride;  // a multiple of 8
  const int32_t* targets;  // [rows]
  const float* weights;    // [rows] or null (all 1)
  float* loss;             // [rows]
  float gradient_scale;
  GpuType type;
  int rows, vocab;
};

// Gradient of y = norm(x) * gain + bias. Mean and deviation are computed again from x, which costs one more read and saves their memory.
//   dx[r] (+)= gradient through the norm; gain_gradient, bias_gradient += sums over the rows
struct LayerNormBackwardArgs {
  const float* x;   // [rows][width]
  const void* dy;   // [rows][width], T
  const float* gain;
  float* dx;        // [rows][width]: added to (the residual's gradient)
  float* gain_gradient;  // [width], added to
  float* bias_gradient;  // [width], added to
  void* workspace;       // layer_norm_backward_workspace_bytes(rows, width)
  GpuType type;
  float epsilon;
  int rows, width;
};

// y = activation(x), element by element; y may be x.
struct ActivationArgs {
  const void* x;  // T
  void* y;        // T
  GpuType type;
  GpuActivation activation;
  int64_t count;
};

// dx = dy * activation'(x), element by element; dx may be dy.
struct ActivationBackwardArgs {
  const void* x;   // before the activation, T
  const void* dy;  // T
  void* dx;        // T
  GpuType type;
  GpuActivation activation;
  int64_t count;
};

// bias_gradient[n] += sum over rows of dy[r][n].
struct BiasBackwardArgs {
  const void* dy;  // [rows][width], T, rows stride elements apart
  int64_t stride;
  float* bias_gradient;  // [width]
  void* workspace;       // bias_backward_workspace_bytes(rows, width)
  GpuType type;
  int rows, width;
};

// table_gradient[id] += sum of dx[row] over the rows that looked up id. Rows are given grouped by id (a counting sort on the host), so that each id is
// summed by one block in order: no atomics. Serves token and position embeddings.
struct EmbeddingBackwardArgs {
  const float* dx;           // [.][width]
  const int32_t* rows;       // row numbers, grouped by id
  const int32_t* group_end;  // [groups]: end of each group in rows
  const int32_t* group_id;   // [groups]
  float* table_gradient;     // [ids][width]
  int groups, width;
};

// y = x * keep / (1 - rate), keep from Philox 4x32-10 (Salmon et al. 2011) of (seed, stream, element): the same call with the same counters is its own
// gradient, so no mask is stored. y may be x.
struct DropoutArgs {
  const void* x;
  void* y;
  GpuType type;
  uint64_t seed;
  uint64_t stream;  // a number for each use in a step: step * uses + use
  float rate;       // 0 <= rate < 1
  int64_t count;
};

// y (T) = dropout(x), x f32: as DropoutArgs, with another type on each side; rate 0 only converts. y may be x where T is f32.
struct ConvertArgs {
  const float* x;
  void* y;
  GpuType type;
  uint64_t seed;
  uint64_t stream;
  float rate;
  int64_t count;
};

// One tensor's step of AdamW (Loshchilov and Hutter 2019), decoupled weight decay:
//   m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2; w -= rate * (m / c1 / (sqrt(v / c2) + eps) + decay * w),  c = 1 - b^step,  g = gradient * *gradient_scale
struct AdamWArgs {
  float* weights;         // [count] master copy
  void* working;          // [count] bf16 copy for the forward pass, or null
  const float* gradient;  // [count]
  float* first;           // [count] m
  float* second;          // [count] v
  const float* gradient_scale;  // on the device: clipping and loss scale; null: 1
  float rate, beta1, beta2, epsilon, decay;
  int64_t step;  // from 1
  int64_t count;
};

// *sum += sum of squares of values (f64, one order): for clipping. Workspace: squared_norm_workspace_bytes(count).
struct SquaredNormArgs {
  const float* values;
  int64_t count;
  double* sum;
  void* workspace;
};

// *scale = base * min(1, max_norm / sqrt(*squared_norm)); 0 where the norm is not finite, and *finite says so (1 or 0).
struct ClipScaleArgs {
  const double* squared_norm;
  float base;
  float max_norm;  // <= 0: no clipping
  float* scale;
  int32_t* finite;
};

// y[c][r] = x[r][c], T: operands of the products' gradients.
struct TransposeArgs {
  const void* x;  // [rows][columns], rows x_stride elements apart
  int64_t x_stride;
  void* y;        // [columns][rows], rows y_stride elements apart
  int64_t y_stride;
  GpuType type;
  int rows, columns;
};

// Gradients of causal attention over packed sequences (no pages, no prefix), from the forward pass's output and log-sum-exp: S and P are computed again
// tile by tile (Dao 2023, FlashAttention-2, algorithm 2), so memory grows with the rows, not with their square.
struct FlashBackwardArgs {
  const void* qkv;  // [rows][3 * heads * head_dim], T
  int64_t qkv_stride;
  const void* output;    // [rows][heads * head_dim], T: what the forward pass gave
  const void* d_output;  // its gradient, T
  int64_t output_stride;
  const float* log_sum_exp;  // [heads][lse_stride], natural logarithm
  int64_t lse_stride;        // >= rows
  void* d_qkv;  // [rows][3 * heads * head_dim], T, written whole for the sequences' rows; same stride as qkv
  const int32_t* begin;  // [sequences] first row
  const int32_t* length;  // [sequences]
  int sequences, max_length, rows;
  int heads, head_dim;
  float scale;
  const float* alibi_slopes;  // [heads] or null
  GpuType type;
  // true: dQ by a pass of its own (7 products instead of 5), bitwise the same from run to run; false: dQ may come by atomic additions (Hopper's engine needs none).
  bool deterministic;
  void* workspace;  // flash_backward_workspace_bytes
};

// Attention over packed sequences with scores, probabilities and their gradients in memory: the textbook way, for comparison.
struct StandardAttentionArgs {
  const void* qkv;  // [rows][3 * heads * head_dim], T
  int64_t qkv_stride;
  void* output;          // [rows][heads * head_dim], T: written by the forward pass
  const void* d_output;  // its gradient, T; the backward pass's, as what follows
  int64_t output_stride;
  void* d_qkv;           // as qkv, written whole for the sequences' rows
  float* probabilities;  // [heads][length][length] of each sequence: written forward, read backward
  float* d_scores;       // workspace of the backward pass, of the same size
  const int32_t* begin;         // [sequences] first row
  const int32_t* length;        // [sequences]
  const int64_t* square_begin;  // [sequences] where a sequence's probabilities begin, in floats
  int sequences, max_length;
  int heads, head_dim;
  float scale;
  const float* alibi_slopes;  // [heads] or null
  GpuType type;
};

struct GpuTrainOps {
  void (*flash_backward)(const FlashBackwardArgs&, Stream);
  int64_t (*flash_backward_workspace_bytes)(int rows, int heads, int head_dim, bool deterministic);
  void (*standard_attention_forward)(const StandardAttentionArgs&, Stream);
  void (*standard_attention_backward)(const StandardAttentionArgs&, Stream);
  void (*cross_entropy)(const CrossEntropyArgs&, Stream);
  void (*layer_norm_backward)(const LayerNormBackwardArgs&, Stream);
  int64_t (*layer_norm_backward_workspace_bytes)(int rows, int width);
  void (*activation_forward)(const ActivationArgs&, Stream);
  void (*activation_backward)(const ActivationBackwardArgs&, Stream);
  void (*bias_backward)(const BiasBackwardArgs&, Stream);
  int64_t (*bias_backward_workspace_bytes)(int rows, int width);
  void (*embedding_backward)(const EmbeddingBackwardArgs&, Stream);
  void (*dropout)(const DropoutArgs&, Stream);
  void (*convert)(const ConvertArgs&, Stream);
  void (*adamw)(const AdamWArgs&, Stream);
  void (*squared_norm)(const SquaredNormArgs&, Stream);
  int64_t (*squared_norm_workspace_bytes)(int64_t count);
  void (*clip_scale)(const ClipScaleArgs&, Stream);
  void (*transpose)(const TransposeArgs&, Stream);
};

}  // namespace precis::kernels

#endif  // PRECIS_KERNELS_GPU_TRAIN_OPS_H_
