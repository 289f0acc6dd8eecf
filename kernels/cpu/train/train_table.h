#ifndef PRECIS_KERNELS_CPU_TRAIN_TRAIN_TABLE_H_
#define PRECIS_KERNELS_CPU_TRAIN_TRAIN_TABLE_H_

#include <cstdint>

// What training's kernels of each instruction set export, as cpu/kernel_table.h does for inference: one task of one thread each. Elements of type T are
// floats, or bf16 where `bf16` is set; all arithmetic is in float.
namespace precis::kernels {

// One head of one sequence. Rows of qkv, output and their gradients are `*_stride` elements apart; pointers are at the sequence's first row and at the
// head's first element; keys and values lie `width` and 2 * `width` elements behind the queries.
struct TrainAttentionTask {
  const void* qkv = nullptr;
  int64_t qkv_stride = 0;
  int64_t width = 0;
  void* output = nullptr;
  int64_t output_stride = 0;
  float* log_sum_exp = nullptr;  // [length]
  const void* d_output = nullptr;
  void* d_qkv = nullptr;
  bool bf16 = false;
  int length = 0;
  int head_dim = 0;
  float scale = 1;
  float slope = 0;
  float* probabilities = nullptr;  // [length][length], materialised only
  float* scratch = nullptr;        // AttentionScratch(length, head_dim) floats
};

struct TrainKernels {
  void (*attention_forward)(const TrainAttentionTask&) = nullptr;
  void (*attention_backward)(const TrainAttentionTask&) = nullptr;
  int64_t (*attention_scratch)(int length, int head_dim) = nullptr;

  // Rows [0, rows) of op(A), `a_stride` apart (transposed: A is [depth][rows]), as a group of the GEMM's packed activations: [depth][rows].
  void (*pack_rows)(const void* a, int64_t a_stride, bool transposed, bool bf16, int rows, int64_t depth, float* packed) = nullptr;
  // `columns` <= panel_width columns of op(B) as a panel: [depth][panel_width], zeros past the end. B is [depth][columns], or [columns][depth] if transposed.
  void (*pack_panel)(const void* b, int64_t b_stride, bool transposed, bool bf16, int columns, int64_t depth, float* panel) = nullptr;

  // sum = x (+ delta); y = (sum - mean) / deviation * gain + bias. delta and y are T. sum may be x.
  void (*norm)(const float* x, const void* delta, const float* gain, const float* bias, float epsilon, int64_t size, bool bf16, float* sum, void* y) = nullptr;
  // dx += gradient; gain_gradient and bias_gradient [size] are added to.
  void (*norm_backward)(const float* x, const void* dy, const float* gain, float epsilon, int64_t size, bool bf16, float* dx, float* gain_gradient,
                        float* bias_gradient) = nullptr;
  void (*activate)(const void* x, void* y, bool bf16, int activation, int64_t count) = nullptr;
  void (*activation_backward)(const void* x, const void* dy, void* dx, bool bf16, int activation, int64_t count) = nullptr;
  // sums[n] += dy[n]
  void (*add_row)(const void* dy, bool bf16, int64_t size, float* sums) = nullptr;
  // Returns log sum exp - logit of the target, and writes factor * (softmax - target) over the logits.
  float (*cross_entropy)(void* logits, bool bf16, int64_t vocab, int32_t target, float factor) = nullptr;
  // y = x * keep / (1 - rate); elements [first, first + count) of the stream, first a multiple of 4.
  void (*dropout)(const void* x, bool x_bf16, void* y, bool y_bf16, uint64_t seed, uint64_t stream, float rate, int64_t first, int64_t count) = nullptr;
  // y = x in another type.
  void (*convert)(const void* x, bool x_bf16, void* y, bool y_bf16, int64_t count) = nullptr;
  // working may be null; correction1 and correction2 are 1 - beta^step.
  void (*adamw)(float* weights, uint16_t* working, const float* gradient, float* first, float* second, float gradient_scale, float rate, float beta1,
                float beta2, float epsilon, float decay, float correction1, float correction2, int64_t count) = nullptr;
  double (*squared_norm)(const float* values, int64_t count) = nullptr;
};

namespace portable {
const TrainKernels& TrainingKernels();
}
namespace avx2 {
const TrainKernels& TrainingKernels();
}
namespace avx512 {
const TrainKernels& TrainingKernels();
}

}  // namespace precis::kernels

#endif  // PRECIS_KERNELS_CPU_TRAIN_TRAIN_TABLE_H_
