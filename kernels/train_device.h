#ifndef PRECIS_KERNELS_TRAIN_DEVICE_H_
#define PRECIS_KERNELS_TRAIN_DEVICE_H_

// What training asks of a device. The trainer's model is written once against it; OpenCpuTrainDevice runs it on the CPU's kernels, OpenGpuTrainDevice on a
// GpuDevice (CUDA, or the SIMT device). Argument structs are those of the GPU kernels (gpu_ops.h, train_ops.h), with pointers into the device's memory; `type` is T.

#include <cstdint>
#include <memory>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "kernels/device.h"
#include "kernels/gpu/gpu_device.h"
#include "kernels/gpu/gpu_ops.h"
#include "kernels/gpu/train_ops.h"

namespace precis::kernels {

// C[m][n] (+)= op(A)[m][k] op(B)[k][n] (+ bias). A and B are T. Rows of each matrix as stored are `*_stride` elements apart.
struct ProductArgs {
  const void* a = nullptr;  // [m][k], or [k][m] if a_transposed
  int64_t a_stride = 0;
  bool a_transposed = false;
  const void* b = nullptr;  // [k][n], or [n][k] if b_transposed
  int64_t b_stride = 0;
  bool b_transposed = false;
  void* c = nullptr;  // T, or f32 if `accumulate`
  int64_t c_stride = 0;
  bool accumulate = false;      // c (f32) is added to; no bias
  const float* bias = nullptr;  // [n] or null
  const void* bias_bf16 = nullptr;  // the same rounded, or null: a device may add this one where T is bf16
  GpuType type = GpuType::kF32;
  int m = 0, n = 0, k = 0;
};

// sum = x (+ delta), y = norm(sum) * gain + bias. sum may be x.
struct ResidualNormArgs {
  const float* x = nullptr;    // [rows][width]
  const void* delta = nullptr;  // T, or null
  float* sum = nullptr;        // [rows][width]
  const float* gain = nullptr;
  const float* bias = nullptr;
  void* y = nullptr;  // T
  GpuType type = GpuType::kF32;
  float epsilon = 0;
  int rows = 0, width = 0;
};

// Causal attention within each of the sequences of the last SetSequences; no row sees another sequence.
struct TrainAttentionArgs {
  const void* qkv = nullptr;  // [rows][3 * heads * head_dim], packed
  void* output = nullptr;     // [rows][heads * head_dim], packed
  float* log_sum_exp = nullptr;  // [heads][rows]
  // null: flash. Else the textbook way: all probabilities are kept, [heads][length][length] floats of each sequence, one after the other.
  float* probabilities = nullptr;
  const float* alibi_slopes = nullptr;  // [heads], or null
  // The backward pass reads the above and:
  const void* d_output = nullptr;
  void* d_qkv = nullptr;
  GpuType type = GpuType::kF32;
  int heads = 0, head_dim = 0;
  float scale = 1;
};

// One device's memory and operations. Operations are enqueued in order; the first error of any comes out of Synchronize and stays. Not thread-safe.
// Every sum has an order of its own that depends on shapes alone, so results repeat bit for bit, whatever the number of threads.
class TrainDevice {
 public:
  virtual ~TrainDevice() = default;
  virtual std::string_view kind() const = 0;  // "cpu", "cuda", "simt"

  // Cleared. RESOURCE_EXHAUSTED says what was asked for.
  virtual absl::StatusOr<void*> Allocate(int64_t bytes) = 0;
  virtual void Free(void* memory) = 0;
  virtual int64_t allocated_bytes() const = 0;  // workspace included
  virtual void Upload(void* to, const void* from, int64_t bytes) = 0;         // `from` may change after the call
  virtual absl::Status Download(void* to, const void* from, int64_t bytes) = 0;  // waits
  virtual void Copy(void* to, const void* from, int64_t bytes) = 0;
  virtual void Clear(void* to, int64_t bytes) = 0;
  virtual absl::Status Synchronize() = 0;

  // The rows of the batch that follows: sequence s is rows begin[s] .. begin[s] + length[s] - 1; sequences follow one another.
  virtual void SetSequences(absl::Span<const int32_t> begin, absl::Span<const int32_t> length) = 0;

  virtual void Embed(const EmbedArgs& args) = 0;
  virtual void ResidualNorm(const ResidualNormArgs& args) = 0;
  virtual void Product(const ProductArgs& args) = 0;
  virtual void AttentionForward(const TrainAttentionArgs& args) = 0;
  virtual void AttentionBackward(const TrainAttentionArgs& args) = 0;
  virtual void Activate(const ActivationArgs& args) = 0;
  virtual void ActivationBackward(const ActivationBackwardArgs& args) = 0;
  virtual void LayerNormBackward(LayerNormBackwardArgs args) = 0;  // the device supplies workspaces
  virtual void BiasBackward(BiasBackwardArgs args) = 0;
  virtual void EmbeddingBackward(const EmbeddingBackwardArgs& args) = 0;
  virtual void CrossEntropy(const CrossEntropyArgs& args) = 0;
  virtual void Dropout(const DropoutArgs& args) = 0;
  virtual void Convert(const ConvertArgs& args) = 0;
  virtual void AdamW(const AdamWArgs& args) = 0;
  virtual void SquaredNorm(SquaredNormArgs args) = 0;
  virtual void ClipScale(const ClipScaleArgs& args) = 0;
};

std::unique_ptr<TrainDevice> OpenCpuTrainDevice(CpuIsa isa, int threads);
// Errors are those of the device, which is kept.
absl::StatusOr<std::unique_ptr<TrainDevice>> OpenGpuTrainDevice(std::shared_ptr<GpuDevice> device);

}  // namespace precis::kernels

#endif  // PRECIS_KERNELS_TRAIN_DEVICE_H_
