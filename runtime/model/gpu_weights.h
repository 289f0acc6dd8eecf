#ifndef PRECIS_RUNTIME_MODEL_GPU_WEIGHTS_H_
#define PRECIS_RUNTIME_MODEL_GPU_WEIGHTS_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "kernels/gpu/gpu_device.h"
#include "kernels/gpu/gpu_ops.h"
#include "runtime/model/gpt2_weights.h"

namespace precis::runtime {

// Device memory that is given back together. The device outlives it.
class GpuMemory {
 public:
  explicit GpuMemory(kernels::GpuDevice* device) : device_(device) {}
  ~GpuMemory();
  GpuMemory(const GpuMemory&) = delete;
  GpuMemory& operator=(const GpuMemory&) = delete;
  // RESOURCE_EXHAUSTED says what was asked for and what is free; `what` names its use.
  absl::StatusOr<char*> Allocate(int64_t bytes, const char* what);
  absl::StatusOr<char*> AllocatePinned(int64_t bytes, const char* what);
  int64_t bytes() const { return bytes_; }
  int64_t pinned_bytes() const { return pinned_bytes_; }

 private:
  kernels::GpuDevice* const device_;
  std::vector<void*> device_blocks_, pinned_blocks_;
  int64_t bytes_ = 0, pinned_bytes_ = 0;
};

// [out][in] in device memory.
struct GpuMatrix {
  const void* data = nullptr;
  const float* scale = nullptr;  // [out] with kI8
  kernels::GpuType type = kernels::GpuType::kF32;
  int in = 0, out = 0;
};
struct GpuNorm {
  const float* gain = nullptr;
  const float* bias = nullptr;
};
struct GpuLinear {
  GpuMatrix matrix;
  const float* bias = nullptr;
  const void* bias_bf16 = nullptr;  // the same, rounded; null in the f32 mode
};
struct GpuLayer {
  GpuNorm attention_norm, mlp_norm;
  GpuLinear qkv, attention_out, mlp_in, mlp_out;
};
struct GpuWeights {
  kernels::GpuType activation_type = kernels::GpuType::kF32;  // f32 where the layers' weights are f32, else bf16
  GpuMatrix embedding, positions, head;                       // positions.data is null for ALiBi; a tied head is the embedding
  std::vector<GpuLayer> layers;
  GpuNorm final_norm;
};

// Copies the weights to the device. In the f32 mode all become f32; else int8 stays int8 (quantised again per output: the same numbers where the largest of an
// output is +-127, as our own quantisation makes it) and the rest becomes bf16.
absl::StatusOr<GpuWeights> UploadWeights(const Gpt2Weights& weights, kernels::GpuDevice* device, kernels::Stream stream, GpuMemory* memory);

}  // namespace precis::runtime

#endif  // PRECIS_RUNTIME_MODEL_GPU_WEIGHTS_H_
