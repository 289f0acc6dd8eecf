// The device memory of a model in training, and what goes in and out of it.
#include <algorithm>

#include "runtime/model/status_macros.h"
#include "runtime/model/text.h"
#include "runtime/training/train_model.h"

namespace precis::runtime {
namespace {

using kernels::GpuType;

// Rows of which logits are in memory at a time. A GPU takes more: each block of rows is a few launches, and wants to fill the device.
constexpr int64_t kLogitRows = 1024, kMostLogitRowsOfGpu = 16384, kLogitBytesOfGpu = int64_t{256} << 20;

}  // namespace

TrainModel::~TrainModel() {
  for (void* block : blocks_) device_->Free(block);
  for (Layer& layer : layers_) device_->Free(layer.probabilities);
}

absl::StatusOr<std::unique_ptr<TrainModel>> TrainModel::Create(const CheckpointConfig& config, const TrainModelOptions& options,
                                                               kernels::TrainDevice* device) {
  auto model = std::unique_ptr<TrainModel>(new TrainModel(config, options, device));
  PRECIS_TRY(model->Reserve());
  return model;
}

absl::Status TrainModel::Take(int64_t bytes, void** to) {
  absl::StatusOr<void*> block = device_->Allocate(bytes);
  if (!block.ok()) {
    return absl::Status(block.status().code(), Cat("no memory for training: ", block.status().message(), ". ", device_->allocated_bytes(),
                                                   " bytes are taken already. Give a smaller --batch-tokens, or --recompute=layer"));
  }
  blocks_.push_back(*block);
  *to = *block;
  return absl::OkStatus();
}

template <class P>
absl::Status TrainModel::TakeAs(int64_t bytes, P** to) {
  void* block = nullptr;
  PRECIS_TRY(Take(bytes, &block));
  *to = static_cast<P*>(block);
  return absl::OkStatus();
}

absl::Status TrainModel::Reserve() {
  const int64_t rows = options_.max_rows, total = table_.total(), residual = rows * width_ * 4, heads = config_.model.n_head;
  for (float** state : {&master_, &gradient_, &first_, &second_}) PRECIS_TRY(TakeAs(total * 4, state));
  if (options_.bf16) PRECIS_TRY(Take(total * 2, &working_));
  Layer shared;  // with recompute_layers all layers use these, and have an `x` of their own
  for (int i = 0; i < config_.model.n_layer; ++i) {
    Layer layer = shared;
    PRECIS_TRY(TakeAs(residual, &layer.x));
    if (i == 0 || !options_.recompute_layers) {
      PRECIS_TRY(TakeAs(residual, &layer.mid));
      PRECIS_TRY(Take(TBytes(rows * 3 * width_), &layer.qkv));
      PRECIS_TRY(Take(TBytes(rows * width_), &layer.attended));
      PRECIS_TRY(Take(TBytes(rows * inner_), &layer.inner));
      PRECIS_TRY(TakeAs(rows * heads * 4, &layer.log_sum_exp));
      shared = layer;
    }
    layers_.push_back(layer);
  }
  probability_floats_.assign(layers_.size(), 0);
  PRECIS_TRY(TakeAs(residual, &x_out_));
  PRECIS_TRY(TakeAs(residual, &dx_));
  for (void** narrow : {&normed_, &delta_, &d_narrow_, &d_t_}) PRECIS_TRY(Take(TBytes(rows * width_), narrow));
  PRECIS_TRY(Take(TBytes(rows * inner_), &activated_));
  PRECIS_TRY(Take(TBytes(rows * std::max(inner_, 3 * width_)), &d_wide_));
  int64_t logit_rows = kLogitRows;
  if (device_->kind() == "cuda") logit_rows = std::clamp(kLogitBytesOfGpu / TBytes(vocab_stride_) / 1024 * 1024, kLogitRows, kMostLogitRowsOfGpu);
  logit_rows_ = static_cast<int>(std::min(rows, logit_rows));
  PRECIS_TRY(Take(TBytes(int64_t{logit_rows_} * vocab_stride_), &logits_));
  for (float** values : {&loss_, &loss_weights_}) PRECIS_TRY(TakeAs(rows * 4, values));
  for (int32_t** values : {&tokens_, &positions_, &targets_, &token_rows_, &token_end_, &token_id_, &position_rows_, &position_end_, &position_id_}) {
    PRECIS_TRY(TakeAs(rows * 4, values));
  }
  PRECIS_TRY(TakeAs(sizeof(double), &norm_sum_));
  PRECIS_TRY(TakeAs(sizeof(float), &norm_scale_));
  PRECIS_TRY(TakeAs(sizeof(int32_t), &norm_finite_));
  if (config_.model.alibi) {
    const std::vector<float> slopes = kernels::AlibiSlopes(config_.model.n_head);
    PRECIS_TRY(TakeAs(heads * 4, &slopes_));
    device_->Upload(slopes_, slopes.data(), heads * 4);
  }
  return device_->Synchronize();
}

// Of standard attention, for the lengths of this batch.
absl::Status TrainModel::ReserveProbabilities(const Batch& batch) {
  if (!options_.materialised) return absl::OkStatus();
  int64_t floats = 0;
  for (int32_t length : batch.length) floats += int64_t{length} * length * config_.model.n_head;
  for (size_t i = 0; i < layers_.size(); ++i) {
    if (floats <= probability_floats_[i]) continue;
    device_->Free(layers_[i].probabilities);
    PRECIS_ASSIGN(void* block, device_->Allocate(floats * 4));
    layers_[i].probabilities = static_cast<float*>(block);
    probability_floats_[i] = floats;
  }
  return absl::OkStatus();
}

void* TrainModel::Working(int64_t offset) const {
  return options_.bf16 ? static_cast<void*>(static_cast<uint16_t*>(working_) + offset) : static_cast<void*>(master_ + offset);
}

TrainModel::Weights TrainModel::LayerWeights(int i) const {
  const std::string h = Cat("h.", i, ".");
  const auto working = [&](const char* name) -> const void* { return Working(table_.Find(h + name).offset); };
  return {Master(h + "ln_1.weight"), Master(h + "ln_1.bias"), Master(h + "ln_2.weight"), Master(h + "ln_2.bias"),
          Master(h + "attn.c_attn.bias"), Master(h + "attn.c_proj.bias"), Master(h + "mlp.c_fc.bias"), Master(h + "mlp.c_proj.bias"),
          working("attn.c_attn.weight"), working("attn.c_proj.weight"), working("mlp.c_fc.weight"), working("mlp.c_proj.weight")};
}

absl::Status TrainModel::SetState(const std::vector<float>& weights, const std::vector<float>* first, const std::vector<float>* second) {
  const int64_t bytes = table_.total() * 4;
  device_->Upload(master_, weights.data(), bytes);
  if (options_.bf16) device_->Convert({.x = master_, .y = working_, .type = type_, .count = table_.total()});
  if (first != nullptr) device_->Upload(first_, first->data(), bytes);
  if (second != nullptr) device_->Upload(second_, second->data(), bytes);
  return device_->Synchronize();
}

absl::Status TrainModel::GetState(std::vector<float>* weights, std::vector<float>* first, std::vector<float>* second) {
  const std::pair<std::vector<float>*, float*> parts[] = {{weights, master_}, {first, first_}, {second, second_}};
  for (const auto& [to, from] : parts) {
    if (to == nullptr) continue;
    to->resize(table_.total());
    PRECIS_TRY(device_->Download(to->data(), from, table_.total() * 4));
  }
  return absl::OkStatus();
}

absl::Status TrainModel::GetGradients(std::vector<float>* gradients) {
  gradients->resize(table_.total());
  return device_->Download(gradients->data(), gradient_, table_.total() * 4);
}

void TrainModel::ClearGradients() { device_->Clear(gradient_, table_.total() * 4); }

}  // namespace precis::runtime
