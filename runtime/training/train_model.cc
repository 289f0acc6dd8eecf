#include "runtime/training/train_model.h"

#include <algorithm>
#include <cmath>

#include "kernels/attention.h"
#include "runtime/model/status_macros.h"
#include "runtime/model/text.h"

namespace precis::runtime {
namespace {

using kernels::GpuActivation;
using kernels::GpuType;
using kernels::ProductArgs;

}  // namespace

TrainModel::TrainModel(const CheckpointConfig& config, const TrainModelOptions& options, kernels::TrainDevice* device)
    : config_(config), options_(options), device_(device), table_(config), type_(options.bf16 ? GpuType::kBf16 : GpuType::kF32),
      width_(config.model.n_embd), inner_(config.model.n_inner), vocab_(config.model.vocab_size), vocab_stride_((config.model.vocab_size + 7) / 8 * 8) {}

void TrainModel::UploadBatch(const Batch& batch) {
  rows_ = batch.rows();
  device_->SetSequences(batch.begin, batch.length);
  device_->Upload(tokens_, batch.tokens.data(), rows_ * 4);
  device_->Upload(positions_, batch.positions.data(), rows_ * 4);
  device_->Upload(targets_, batch.targets.data(), rows_ * 4);
  device_->Upload(loss_weights_, batch.weights.data(), rows_ * 4);
}

// Row numbers grouped by id, in order within a group.
void TrainModel::UploadGroups(const std::vector<int32_t>& ids, int32_t* rows, int32_t* end, int32_t* id, int* count) {
  std::vector<int32_t> order(ids.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int32_t>(i);
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return ids[a] < ids[b]; });
  std::vector<int32_t> group_end, group_id;
  for (size_t i = 0; i < order.size(); ++i) {
    if (group_id.empty() || group_id.back() != ids[order[i]]) {
      group_id.push_back(ids[order[i]]);
      group_end.push_back(0);
    }
    group_end.back() = static_cast<int32_t>(i + 1);
  }
  *count = static_cast<int>(group_id.size());
  device_->Upload(rows, order.data(), static_cast<int64_t>(order.size()) * 4);
  device_->Upload(end, group_end.data(), int64_t{*count} * 4);
  device_->Upload(id, group_id.data(), int64_t{*count} * 4);
}

void TrainModel::EmbedRows(uint64_t use, bool training) {
  const bool learned = !config_.model.alibi;
  device_->Embed({.tokens = tokens_, .positions = positions_, .token_table = Working(table_.Find("wte.weight").offset),
                  .position_table = learned ? Working(table_.Find("wpe.weight").offset) : nullptr, .table_type = type_, .x = layers_[0].x,
                  .rows = rows_, .width = width_});
  if (!training || options_.dropout == 0) return;
  device_->Dropout({.x = layers_[0].x, .y = layers_[0].x, .type = GpuType::kF32, .seed = options_.dropout_seed, .stream = Stream(use, 0),
                    .rate = options_.dropout, .count = int64_t{rows_} * width_});
}

void TrainModel::AddDelta(const float* x, float* sum, const float* gain, const float* bias) {
  device_->ResidualNorm({.x = x, .delta = delta_, .sum = sum, .gain = gain, .bias = bias, .y = normed_, .type = type_,
                         .epsilon = config_.model.layer_norm_epsilon, .rows = rows_, .width = width_});
}

kernels::TrainAttentionArgs TrainModel::Attention(int i) const {
  const ModelConfig& m = config_.model;
  const Layer& layer = layers_[i];
  kernels::TrainAttentionArgs args = {.qkv = layer.qkv, .output = layer.attended, .log_sum_exp = layer.log_sum_exp, .probabilities = layer.probabilities,
                                      .alibi_slopes = slopes_, .type = type_, .heads = m.n_head, .head_dim = m.head_dim()};
  args.scale = m.scale_attn_weights ? 1 / std::sqrt(static_cast<float>(m.head_dim())) : 1.0f;
  if (m.scale_attn_by_inverse_layer_idx) args.scale /= static_cast<float>(i + 1);
  return args;
}

void TrainModel::RunLayer(int i, uint64_t use, bool training, bool with_output) {
  const Layer& layer = layers_[i];
  const Weights w = LayerWeights(i);
  const auto linear = [&](const void* x, const void* weights, const float* bias, void* y, int out, int in) {
    device_->Product({.a = x, .a_stride = in, .b = weights, .b_stride = in, .b_transposed = true, .c = y, .c_stride = out, .bias = bias,
                      .bias_bf16 = options_.bf16 ? Working(bias - master_) : nullptr, .type = type_, .m = rows_, .n = out, .k = in});
  };
  const auto drop = [&](int place) {
    if (!training || options_.dropout == 0) return;
    device_->Dropout({.x = delta_, .y = delta_, .type = type_, .seed = options_.dropout_seed, .stream = Stream(use, place), .rate = options_.dropout,
                      .count = int64_t{rows_} * width_});
  };
  linear(normed_, w.qkv, w.qkv_bias, layer.qkv, 3 * width_, width_);
  device_->AttentionForward(Attention(i));
  linear(layer.attended, w.out, w.out_bias, delta_, width_, width_);
  drop(2 * i + 1);
  AddDelta(layer.x, layer.mid, w.norm2, w.norm2_bias);
  linear(normed_, w.in, w.in_bias, layer.inner, inner_, width_);
  if (!with_output) return;
  device_->Activate({.x = layer.inner, .y = activated_, .type = type_, .activation = static_cast<GpuActivation>(config_.activation),
                     .count = int64_t{rows_} * inner_});
  linear(activated_, w.down, w.down_bias, delta_, width_, inner_);
  drop(2 * i + 2);
}

// Leaves the final norm's output in normed_.
void TrainModel::Forward(uint64_t use, bool training) {
  const int layers = config_.model.n_layer;
  EmbedRows(use, training);
  const Weights first = LayerWeights(0);
  device_->ResidualNorm({.x = layers_[0].x, .sum = layers_[0].x, .gain = first.norm1, .bias = first.norm1_bias, .y = normed_, .type = type_,
                         .epsilon = config_.model.layer_norm_epsilon, .rows = rows_, .width = width_});
  for (int i = 0; i < layers; ++i) {
    RunLayer(i, use, training, true);
    if (i + 1 < layers) {
      const Weights next = LayerWeights(i + 1);
      AddDelta(layers_[i].mid, layers_[i + 1].x, next.norm1, next.norm1_bias);
    } else {
      AddDelta(layers_[i].mid, x_out_, Master("ln_f.weight"), Master("ln_f.bias"));
    }
  }
}

// dx (+)= and gradients of y = x W^T + b; `name` without ".weight". dx may be null.
void TrainModel::LinearBackward(const void* dy, const void* x, const void* weights, std::string_view name, int out, int in, void* dx) {
  device_->BiasBackward({.dy = dy, .stride = out, .bias_gradient = Gradient(Cat(name, ".bias")), .type = type_, .rows = rows_, .width = out});
  device_->Product({.a = dy, .a_stride = out, .a_transposed = true, .b = x, .b_stride = in, .c = Gradient(Cat(name, ".weight")), .c_stride = in,
                    .accumulate = true, .type = type_, .m = out, .n = in, .k = rows_});
  device_->Product({.a = dy, .a_stride = out, .b = weights, .b_stride = in, .c = dx, .c_stride = in, .type = type_, .m = rows_, .n = in, .k = out});
}

void TrainModel::ToT(const float* dx, void* to, uint64_t stream, bool dropout) {
  device_->Convert({.x = dx, .y = to, .type = type_, .seed = options_.dropout_seed, .stream = stream, .rate = dropout ? options_.dropout : 0,
                    .count = int64_t{rows_} * width_});
}

// The head and the loss, kLogitRows rows at a time: logits become their own gradient, then dH and the head's gradient.
void TrainModel::HeadBackward(const Batch& batch, float gradient_scale) {
  const char* head = config_.tie_word_embeddings ? "wte.weight" : "lm_head.weight";
  const void* weights = Working(table_.Find(head).offset);
  for (int begin = 0; begin < rows_; begin += logit_rows_) {
    const int count = std::min(logit_rows_, rows_ - begin);
    char* x = static_cast<char*>(normed_) + TBytes(int64_t{begin} * width_);
    char* dx = static_cast<char*>(d_narrow_) + TBytes(int64_t{begin} * width_);
    device_->Product({.a = x, .a_stride = width_, .b = weights, .b_stride = width_, .b_transposed = true, .c = logits_, .c_stride = vocab_stride_,
                      .type = type_, .m = count, .n = vocab_, .k = width_});
    device_->CrossEntropy({.logits = logits_, .stride = vocab_stride_, .targets = targets_ + begin, .weights = loss_weights_ + begin, .loss = loss_ + begin,
                           .gradient_scale = gradient_scale, .type = type_, .rows = count, .vocab = vocab_});
    device_->Product({.a = logits_, .a_stride = vocab_stride_, .a_transposed = true, .b = x, .b_stride = width_, .c = Gradient(head), .c_stride = width_,
                      .accumulate = true, .type = type_, .m = vocab_, .n = width_, .k = count});
    device_->Product({.a = logits_, .a_stride = vocab_stride_, .b = weights, .b_stride = width_, .c = dx, .c_stride = width_, .type = type_, .m = count,
                      .n = width_, .k = vocab_});
  }
}

void TrainModel::HeadLoss(const Batch& batch) {
  const void* weights = Working(table_.Find(config_.tie_word_embeddings ? "wte.weight" : "lm_head.weight").offset);
  for (int begin = 0; begin < rows_; begin += logit_rows_) {
    const int count = std::min(logit_rows_, rows_ - begin);
    device_->Product({.a = static_cast<char*>(normed_) + TBytes(int64_t{begin} * width_), .a_stride = width_, .b = weights, .b_stride = width_,
                      .b_transposed = true, .c = logits_, .c_stride = vocab_stride_, .type = type_, .m = count, .n = vocab_, .k = width_});
    device_->CrossEntropy({.logits = logits_, .stride = vocab_stride_, .targets = targets_ + begin, .weights = loss_weights_ + begin, .loss = loss_ + begin,
                           .gradient_scale = 0, .type = type_, .rows = count, .vocab = vocab_});
  }
}

// dx_ holds the gradient of what the layer put out and becomes that of what it took in.
void TrainModel::BackwardLayer(int i, uint64_t use) {
  const Layer& layer = layers_[i];
  const Weights w = LayerWeights(i);
  const std::string h = Cat("h.", i, ".");
  const float epsilon = config_.model.layer_norm_epsilon;
  const bool dropout = options_.dropout > 0;
  const auto norm = [&](const float* x, const float* gain, const float* bias) {
    device_->ResidualNorm({.x = x, .sum = const_cast<float*>(x), .gain = gain, .bias = bias, .y = normed_, .type = type_, .epsilon = epsilon, .rows = rows_,
                           .width = width_});
  };
  const auto norm_backward = [&](const float* x, const float* gain, const std::string& name) {
    device_->LayerNormBackward({.x = x, .dy = d_narrow_, .gain = gain, .dx = dx_, .gain_gradient = Gradient(name + ".weight"),
                                .bias_gradient = Gradient(name + ".bias"), .type = type_, .epsilon = epsilon, .rows = rows_, .width = width_});
  };
  if (options_.recompute_layers) {
    norm(layer.x, w.norm1, w.norm1_bias);
    RunLayer(i, use, true, false);
  } else {
    norm(layer.mid, w.norm2, w.norm2_bias);
  }
  // The MLP; normed_ is its norm again, activated_ its activation again.
  const auto activation = static_cast<GpuActivation>(config_.activation);
  const int64_t inner = int64_t{rows_} * inner_;
  device_->Activate({.x = layer.inner, .y = activated_, .type = type_, .activation = activation, .count = inner});
  ToT(dx_, d_t_, Stream(use, 2 * i + 2), dropout);
  LinearBackward(d_t_, activated_, w.down, h + "mlp.c_proj", width_, inner_, d_wide_);
  device_->ActivationBackward({.x = layer.inner, .dy = d_wide_, .dx = d_wide_, .type = type_, .activation = activation, .count = inner});
  LinearBackward(d_wide_, normed_, w.in, h + "mlp.c_fc", inner_, width_, d_narrow_);
  norm_backward(layer.mid, w.norm2, h + "ln_2");
  // Attention.
  ToT(dx_, d_t_, Stream(use, 2 * i + 1), dropout);
  LinearBackward(d_t_, layer.attended, w.out, h + "attn.c_proj", width_, width_, d_narrow_);
  kernels::TrainAttentionArgs attention = Attention(i);
  attention.d_output = d_narrow_;
  attention.d_qkv = d_wide_;
  device_->AttentionBackward(attention);
  norm(layer.x, w.norm1, w.norm1_bias);
  LinearBackward(d_wide_, normed_, w.qkv, h + "attn.c_attn", 3 * width_, width_, d_narrow_);
  norm_backward(layer.x, w.norm1, h + "ln_1");
}

absl::StatusOr<BatchLoss> TrainModel::Accumulate(const Batch& batch, float gradient_scale, uint64_t use) {
  PRECIS_TRY(ReserveProbabilities(batch));
  UploadBatch(batch);
  Forward(use, true);
  HeadBackward(batch, gradient_scale);
  device_->Clear(dx_, int64_t{rows_} * width_ * 4);
  device_->LayerNormBackward({.x = x_out_, .dy = d_narrow_, .gain = Master("ln_f.weight"), .dx = dx_, .gain_gradient = Gradient("ln_f.weight"),
                              .bias_gradient = Gradient("ln_f.bias"), .type = type_, .epsilon = config_.model.layer_norm_epsilon, .rows = rows_,
                              .width = width_});
  for (int i = config_.model.n_layer - 1; i >= 0; --i) BackwardLayer(i, use);
  if (options_.dropout > 0) {
    device_->Dropout({.x = dx_, .y = dx_, .type = GpuType::kF32, .seed = options_.dropout_seed, .stream = Stream(use, 0), .rate = options_.dropout,
                      .count = int64_t{rows_} * width_});
  }
  UploadGroups(batch.tokens, token_rows_, token_end_, token_id_, &token_groups_);
  device_->EmbeddingBackward({.dx = dx_, .rows = token_rows_, .group_end = token_end_, .group_id = token_id_, .table_gradient = Gradient("wte.weight"),
                              .groups = token_groups_, .width = width_});
  if (!config_.model.alibi) {
    UploadGroups(batch.positions, position_rows_, position_end_, position_id_, &position_groups_);
    device_->EmbeddingBackward({.dx = dx_, .rows = position_rows_, .group_end = position_end_, .group_id = position_id_,
                                .table_gradient = Gradient("wpe.weight"), .groups = position_groups_, .width = width_});
  }
  return CollectLoss(batch);
}

absl::StatusOr<BatchLoss> TrainModel::Evaluate(const Batch& batch) {
  PRECIS_TRY(ReserveProbabilities(batch));
  UploadBatch(batch);
  Forward(0, false);
  HeadLoss(batch);
  return CollectLoss(batch);
}

absl::StatusOr<BatchLoss> TrainModel::CollectLoss(const Batch& batch) {
  std::vector<float> loss(rows_);
  PRECIS_TRY(device_->Download(loss.data(), loss_, int64_t{rows_} * 4));
  BatchLoss result;
  for (int r = 0; r < rows_; ++r) {
    if (batch.weights[r] == 0) continue;
    result.weighted += loss[r];
    const double plain = loss[r] / batch.weights[r];
    (batch.in_summary[r] ? result.summary : result.document) += plain;
    ++(batch.in_summary[r] ? result.summary_tokens : result.document_tokens);
  }
  return result;
}

absl::StatusOr<std::vector<float>> TrainModel::Logits(const Batch& batch, bool last_only) {
  PRECIS_TRY(ReserveProbabilities(batch));
  UploadBatch(batch);
  Forward(0, false);
  const void* weights = Working(table_.Find(config_.tie_word_embeddings ? "wte.weight" : "lm_head.weight").offset);
  const int begin = last_only ? rows_ - 1 : 0, count = rows_ - begin;
  if (count > logit_rows_) return absl::InvalidArgumentError(Cat("logits of at most ", logit_rows_, " rows at a time"));
  device_->Product({.a = static_cast<char*>(normed_) + TBytes(int64_t{begin} * width_), .a_stride = width_, .b = weights, .b_stride = width_,
                    .b_transposed = true, .c = logits_, .c_stride = vocab_stride_, .type = type_, .m = count, .n = vocab_, .k = width_});
  std::vector<char> raw(TBytes(int64_t{count} * vocab_stride_));
  PRECIS_TRY(device_->Download(raw.data(), logits_, static_cast<int64_t>(raw.size())));
  std::vector<float> result(int64_t{count} * vocab_);
  for (int r = 0; r < count; ++r) {
    for (int v = 0; v < vocab_; ++v) {
      const int64_t at = int64_t{r} * vocab_stride_ + v;
      result[int64_t{r} * vocab_ + v] =
          options_.bf16 ? std::bit_cast<float>(uint32_t{reinterpret_cast<const uint16_t*>(raw.data())[at]} << 16) : reinterpret_cast<const float*>(raw.data())[at];
    }
  }
  return result;
}

absl::StatusOr<TrainModel::UpdateResult> TrainModel::Update(const AdamWStep& step) {
  device_->Clear(norm_sum_, sizeof(double));
  device_->SquaredNorm({.values = gradient_, .count = table_.total(), .sum = norm_sum_});
  device_->ClipScale({.squared_norm = norm_sum_, .base = 1, .max_norm = step.max_norm, .scale = norm_scale_, .finite = norm_finite_});
  UpdateResult result;
  double squared = 0;
  int32_t finite = 0;
  PRECIS_TRY(device_->Download(&squared, norm_sum_, sizeof(squared)));
  PRECIS_TRY(device_->Download(&finite, norm_finite_, sizeof(finite)));
  result.gradient_norm = std::sqrt(squared);
  result.finite = finite != 0;
  if (!result.finite) return result;
  for (const bool matrices : {true, false}) {
    const int64_t begin = matrices ? 0 : table_.matrices_end(), end = matrices ? table_.matrices_end() : table_.total();
    device_->AdamW({.weights = master_ + begin, .working = options_.bf16 ? static_cast<uint16_t*>(working_) + begin : nullptr,
                    .gradient = gradient_ + begin, .first = first_ + begin, .second = second_ + begin, .gradient_scale = norm_scale_, .rate = step.rate,
                    .beta1 = step.beta1, .beta2 = step.beta2, .epsilon = step.epsilon, .decay = matrices ? step.decay : 0, .step = step.step,
                    .count = end - begin});
  }
  PRECIS_TRY(device_->Synchronize());
  return result;
}

double TrainModel::Flops(const Batch& batch) const {
  const double width = width_, layers = config_.model.n_layer;
  const double weights = layers * (4 * width * width + 2 * width * inner_) + width * vocab_;
  double pairs = 0;
  const int rows = batch.rows() - batch.padding;
  for (size_t s = 0; s < batch.length.size(); ++s) {
    if (batch.begin[s] < rows) pairs += 0.5 * batch.length[s] * (batch.length[s] + 1.0);
  }
  // Attention: two products forward, four (and one again, not counted) backward, 2 operations a pair and dimension.
  return 6 * weights * rows + 12 * width * pairs * layers;
}

}  // namespace precis::runtime
