#ifndef PRECIS_RUNTIME_MODEL_GPU_FORWARD_H_
#define PRECIS_RUNTIME_MODEL_GPU_FORWARD_H_

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "kernels/gpu/gpu_device.h"
#include "kernels/gpu/gpu_ops.h"
#include "runtime/model/gpu_batch.h"
#include "runtime/model/gpu_weights.h"
#include "runtime/model/model_runner.h"

namespace precis::runtime {

// Times of attention by variant, from events around its launches. Events keep launches apart that would overlap, so a timed step is a little slower.
class AttentionTimer {
 public:
  explicit AttentionTimer(kernels::GpuDevice* device) : device_(device) {}
  ~AttentionTimer();
  AttentionTimer(const AttentionTimer&) = delete;
  AttentionTimer& operator=(const AttentionTimer&) = delete;

  void Start() { used_.clear(); }
  absl::Status Begin(const kernels::AttentionVariant* variant, kernels::Stream stream);
  void End(kernels::Stream stream);
  // After the stream was waited for.
  absl::Duration Of(const kernels::AttentionVariant* variant) const;

 private:
  kernels::GpuDevice* const device_;
  std::vector<kernels::Event> events_;  // two for each of used_
  std::vector<const kernels::AttentionVariant*> used_;
};

// Enqueues the forward pass of a batch: the launches of cpu_runner.cc. All memory is taken in Reserve.
class GpuForward {
 public:
  GpuForward(kernels::GpuDevice* device, const ModelConfig& config, kernels::GpuActivation activation, int context_tokens)
      : device_(device), ops_(device->ops()), config_(config), activation_(activation), context_tokens_(context_tokens) {}

  void SetWeights(GpuWeights weights, const float* slopes) { weights_ = std::move(weights), slopes_ = slopes; }
  void SetMode(kernels::GemmMode mode) { mode_ = mode; }
  const GpuWeights& weights() const { return weights_; }

  static int64_t ActivationBytes(const ModelConfig& config, int64_t element, int64_t tokens, int64_t samples);
  // Memory for steps of up to `tokens` tokens; attention's workspace above what one query needs, up to `workspace_limit`. Zeroes counters on the stream.
  absl::Status Reserve(int tokens, int64_t workspace_limit, GpuMemory* memory, kernels::Stream stream);

  // From the tokens to the last layer. `timer`: null, or what attention's times go to.
  absl::Status Layers(const GpuBatch& batch, const KvMemory& memory, AttentionTimer* timer, kernels::Stream stream);
  // Logits of samples [begin, begin + count) of the batch, at most GpuBatch::kLogitRows, and the choice of their tokens.
  void Head(const GpuBatch& batch, int begin, int count, kernels::Stream stream);

  float* logits() const { return reinterpret_cast<float*>(logits_); }  // [count][vocab_size] of the last Head
  const int32_t* chosen() const { return reinterpret_cast<const int32_t*>(chosen_); }  // [samples]
  int64_t WorkspaceBytes(const GpuPart& part) const;  // that a launch of this part uses

 private:
  int64_t Element() const { return weights_.activation_type == kernels::GpuType::kF32 ? 4 : 2; }
  int64_t GemmWorkspace(int tokens) const;
  int64_t Need(const GpuPart& part) const;
  char* AttentionOutput() const;
  void Norm(const GpuNorm& norm, const int32_t* row_index, int rows, kernels::Stream stream);
  kernels::GemmArgs Product(const GpuMatrix& w, const void* x, void* y, int rows, kernels::GpuType y_type) const;
  kernels::GemmArgs Linear(const GpuLinear& linear, const void* x, void* y, int rows) const;
  void AddTo(const GpuLinear& linear, const void* x, int rows, kernels::Stream stream);
  void NormAndMultiply(const GpuNorm& norm, const GpuLinear& linear, int rows, kernels::GpuActivation activation, kernels::Stream stream);
  absl::Status Attend(int index, const GpuBatch& batch, const KvMemory& memory, AttentionTimer* timer, kernels::Stream stream);
  void AttendPart(const GpuPart& part, const GpuBatch& batch, kernels::GpuAttentionArgs& args, kernels::Stream stream);

  kernels::GpuDevice* const device_;
  const kernels::GpuOps& ops_;
  const ModelConfig& config_;
  const kernels::GpuActivation activation_;
  const int context_tokens_;
  kernels::GemmMode mode_ = kernels::GemmMode::kInvariant;
  GpuWeights weights_;
  const float* slopes_ = nullptr;
  int rows_ = 0;  // of the activations
  int64_t workspace_bytes_ = 0;
  char *hidden_ = nullptr, *normed_ = nullptr, *wide_ = nullptr, *logits_ = nullptr, *chosen_ = nullptr, *workspace_ = nullptr;
  uint32_t* counters_ = nullptr;
};

}  // namespace precis::runtime

#endif  // PRECIS_RUNTIME_MODEL_GPU_FORWARD_H_
