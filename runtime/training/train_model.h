#ifndef PRECIS_RUNTIME_TRAINING_TRAIN_MODEL_H_
#define PRECIS_RUNTIME_TRAINING_TRAIN_MODEL_H_

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/train_device.h"
#include "runtime/model/config_json.h"
#include "runtime/training/batch.h"
#include "runtime/training/parameters.h"

namespace precis::runtime {

struct TrainModelOptions {
  bool bf16 = false;           // activations and products; weights, sums, gradients and the optimiser are f32
  bool materialised = false;   // attention that keeps all probabilities, for comparison
  bool recompute_layers = false;  // keep only the layers' inputs; else norms and activations alone are computed again
  float dropout = 0;           // on embeddings and on what enters the residual stream
  uint64_t dropout_seed = 0;
  int max_rows = 0;            // of a batch
};

// Sums over a batch's rows, unweighted: natural logarithms.
struct BatchLoss {
  double weighted = 0;  // sum of weight * loss
  double document = 0, summary = 0;
  int64_t document_tokens = 0, summary_tokens = 0;
};

struct AdamWStep {
  float rate = 0, beta1 = 0.9f, beta2 = 0.95f, epsilon = 1e-8f, decay = 0.1f;
  float max_norm = 1;  // <= 0: no clipping
  int64_t step = 1;
};

// A GPT-2-family model with its gradients and optimiser in a device's memory. Master weights and gradients are f32; with bf16 a working copy follows them.
// Not thread-safe.
class TrainModel {
 public:
  // Takes all memory; RESOURCE_EXHAUSTED says how much. `device` outlives the model.
  static absl::StatusOr<std::unique_ptr<TrainModel>> Create(const CheckpointConfig& config, const TrainModelOptions& options, kernels::TrainDevice* device);
  ~TrainModel();

  const ParameterTable& table() const { return table_; }
  const CheckpointConfig& config() const { return config_; }

  // [table().total()] floats each.
  absl::Status SetState(const std::vector<float>& weights, const std::vector<float>* first, const std::vector<float>* second);
  absl::Status GetState(std::vector<float>* weights, std::vector<float>* first, std::vector<float>* second);
  absl::Status GetGradients(std::vector<float>* gradients);

  void ClearGradients();
  // Forward and backward: gradients += gradient_scale * d(sum of weight * loss). `use` numbers the batch for dropout: the same number gives the same masks.
  absl::StatusOr<BatchLoss> Accumulate(const Batch& batch, float gradient_scale, uint64_t use);
  // Forward only, no dropout.
  absl::StatusOr<BatchLoss> Evaluate(const Batch& batch);
  // [rows][vocab_size] of the batch's rows, or of its last row alone.
  absl::StatusOr<std::vector<float>> Logits(const Batch& batch, bool last_only);

  struct UpdateResult {
    double gradient_norm = 0;
    bool finite = true;  // if not, nothing was changed
  };
  // One step of AdamW with the accumulated gradients; weight decay on matrices only.
  absl::StatusOr<UpdateResult> Update(const AdamWStep& step);

  // Floating-point operations of Accumulate for this batch: 6 for each weight of a product and row (2 forward, 4 backward), attention's causal products;
  // what is computed again is not counted.
  double Flops(const Batch& batch) const;

 private:
  struct Layer {
    float *x = nullptr, *mid = nullptr;  // residual stream in front of attention, in front of the MLP
    void *qkv = nullptr, *attended = nullptr, *inner = nullptr;  // T
    float *log_sum_exp = nullptr, *probabilities = nullptr;
  };
  struct Weights {
    const float *norm1, *norm1_bias, *norm2, *norm2_bias, *qkv_bias, *out_bias, *in_bias, *down_bias;
    const void *qkv, *out, *in, *down;  // T, [out][in]
  };

  TrainModel(const CheckpointConfig& config, const TrainModelOptions& options, kernels::TrainDevice* device);
  absl::Status Reserve();
  absl::Status Take(int64_t bytes, void** to);
  template <class P>
  absl::Status TakeAs(int64_t bytes, P** to);
  absl::Status ReserveProbabilities(const Batch& batch);
  int64_t TBytes(int64_t count) const { return count * (options_.bf16 ? 2 : 4); }
  void* Working(int64_t offset) const;
  const float* Master(std::string_view name) const { return master_ + table_.Find(name).offset; }
  float* Gradient(std::string_view name) const { return gradient_ + table_.Find(name).offset; }
  Weights LayerWeights(int i) const;

  void UploadBatch(const Batch& batch);
  void UploadGroups(const std::vector<int32_t>& ids, int32_t* rows, int32_t* end, int32_t* id, int* count);
  void EmbedRows(uint64_t use, bool training);
  void Forward(uint64_t use, bool training);
  // What comes in front of the layer is in `x`; leaves its output's addition to the caller, in delta_. normed_ holds its first norm.
  void RunLayer(int i, uint64_t use, bool training, bool with_output);
  void AddDelta(const float* x, float* sum, const float* gain, const float* bias);
  void HeadBackward(const Batch& batch, float gradient_scale);
  void HeadLoss(const Batch& batch);
  void BackwardLayer(int i, uint64_t use);
  void LinearBackward(const void* dy, const void* x, const void* weights, std::string_view name, int out, int in, void* dx);
  void ToT(const float* dx, void* to, uint64_t stream, bool dropout);
  absl::StatusOr<BatchLoss> CollectLoss(const Batch& batch);
  kernels::TrainAttentionArgs Attention(int i) const;
  uint64_t Stream(uint64_t use, int place) const { return use * (2 * config_.model.n_layer + 1) + place; }

  const CheckpointConfig config_;
  const TrainModelOptions options_;
  kernels::TrainDevice* const device_;
  const ParameterTable table_;
  const kernels::GpuType type_;
  const int width_, inner_, vocab_, vocab_stride_;
  int rows_ = 0;

  std::vector<void*> blocks_;
  float *master_ = nullptr, *gradient_ = nullptr, *first_ = nullptr, *second_ = nullptr;
  void* working_ = nullptr;
  std::vector<Layer> layers_;
  float *x_out_ = nullptr, *dx_ = nullptr, *loss_ = nullptr, *slopes_ = nullptr, *loss_weights_ = nullptr;
  void *normed_ = nullptr, *delta_ = nullptr, *activated_ = nullptr, *d_wide_ = nullptr, *d_narrow_ = nullptr, *d_t_ = nullptr, *logits_ = nullptr;
  int32_t *tokens_ = nullptr, *positions_ = nullptr, *targets_ = nullptr;
  int32_t *token_rows_ = nullptr, *token_end_ = nullptr, *token_id_ = nullptr, *position_rows_ = nullptr, *position_end_ = nullptr, *position_id_ = nullptr;
  int token_groups_ = 0, position_groups_ = 0, logit_rows_ = 0;
  double* norm_sum_ = nullptr;
  float* norm_scale_ = nullptr;
  int32_t* norm_finite_ = nullptr;
  std::vector<int64_t> probability_floats_;
};

}  // namespace precis::runtime

#endif  // PRECIS_RUNTIME_TRAINING_TRAIN_MODEL_H_
