// GPT-2's forward pass (Radford et al. 2019) over a ragged batch:
//
//   x = wte[token] (+ wpe[position])
//   each layer:  x += attention(norm1(x) Wqkv + b) Wo + b;   x += activation(norm2(x) W1 + b) W2 + b
//   logits = norm(x) head^T, for the rows that need them
//
// Every matrix product takes all tokens of the step; only attention looks at sequences, one variant after the other.

#include "runtime/model/cpu_runner.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <utility>

#include "kernels/ops.h"
#include "runtime/model/config_json.h"
#include "runtime/model/gpt2_weights.h"
#include "runtime/model/mapped_file.h"
#include "runtime/model/status_macros.h"
#include "runtime/model/step_buffers.h"
#include "runtime/model/step_plan.h"
#include "runtime/model/text.h"

namespace precis::runtime {
namespace {

using kernels::Activation;
using kernels::DType;
using kernels::PackedMatrix;
using kernels::Positions;

class CpuRunner : public ModelRunner {
 public:
  CpuRunner(CheckpointConfig config, Gpt2Weights weights, const LoadOptions& options, int context_limit,
            std::shared_ptr<kernels::ThreadPool> pool);

  const ModelConfig& config() const override { return config_; }
  std::string_view device() const override { return "cpu"; }
  DType weights_dtype() const override { return weights_.dtype; }
  int context_tokens() const override { return context_tokens_; }
  int64_t weights_bytes() const override { return weights_.bytes; }
  int64_t parameters() const override { return weights_.parameters; }
  int64_t page_bytes() const override { return page_bytes_; }
  int64_t ActivationBytes(int tokens, int sampled) const override;
  void SetLimits(int64_t attention_workspace_bytes) override { workspace_limit_ = attention_workspace_bytes; }
  absl::Status Step(absl::Span<const StepRow> rows, const KvMemory& memory, bool timed,
                    absl::Span<StepOutput> outputs, StepStats* stats) override;
  void CopyPage(const KvMemory& memory, int32_t from, int32_t to) override;

 private:
  absl::Status Prepare(absl::Span<const StepRow> rows, const KvMemory& memory);
  void Embed();
  void RunLayer(int index, const KvMemory& memory, bool timed);
  void Attend(int index, const KvMemory& memory, bool timed);
  void RunHead(absl::Span<const StepRow> rows, absl::Span<StepOutput> outputs);
  void Choose(const StepRow& row, float* logits, StepOutput* output) const;
  void FillStats(StepStats* stats) const;

  void Norm(const NormWeights& norm, const float* x, int64_t rows, float* y);
  void Multiply(const LinearWeights& linear, const float* x, float* y, Activation activation, bool accumulate);
  kernels::KvLayerView LayerView(int index, const KvMemory& memory) const;

  const ModelConfig config_;
  const Activation activation_;
  const Gpt2Weights weights_;
  const kernels::CpuIsa isa_;
  const std::shared_ptr<kernels::ThreadPool> pool_;
  const DType kv_dtype_;
  const int64_t kv_part_bytes_;  // one layer's keys, or values, of a page
  const int64_t page_bytes_;
  const int context_tokens_;
  const std::vector<float> alibi_slopes_;
  int64_t workspace_limit_ = int64_t{256} << 20;
  StepPlan plan_;
  StepBuffers buffers_;
};

// Tokens of prompt and summary together.
int ContextTokens(const ModelConfig& config, const LoadOptions& options, int context_limit) {
  const int own = config.alibi ? options.alibi_context_tokens : config.n_positions;
  return context_limit > 0 ? std::min(own, context_limit) : own;
}

CpuRunner::CpuRunner(CheckpointConfig config, Gpt2Weights weights, const LoadOptions& options, int context_limit,
                     std::shared_ptr<kernels::ThreadPool> pool)
    : config_(config.model),
      activation_(config.activation),
      weights_(std::move(weights)),
      isa_(options.isa),
      pool_(std::move(pool)),
      kv_dtype_(options.kv_cache.value_or(weights_.dtype == DType::kF32 ? DType::kF32 : DType::kBf16)),
      kv_part_bytes_(kernels::KvPageBytes(kv_dtype_, config_.n_head, config_.head_dim())),
      page_bytes_((2 * config_.n_layer * kv_part_bytes_ + 63) / 64 * 64),
      context_tokens_(ContextTokens(config_, options, context_limit)),
      alibi_slopes_(config_.alibi ? kernels::AlibiSlopes(config_.n_head) : std::vector<float>()) {}

int64_t CpuRunner::ActivationBytes(int tokens, int sampled) const {
  return StepBuffers::Bytes(config_, tokens, sampled, pool_->threads()) + tokens * StepPlan::BytesPerToken();
}

// Page p: for each layer its keys, then its values.
kernels::KvLayerView CpuRunner::LayerView(int index, const KvMemory& memory) const {
  char* keys = memory.base + 2 * index * kv_part_bytes_;
  return {.keys = keys, .values = keys + kv_part_bytes_, .page_stride_bytes = page_bytes_, .dtype = kv_dtype_,
          .heads = config_.n_head, .head_dim = config_.head_dim()};
}

void CpuRunner::CopyPage(const KvMemory& memory, int32_t from, int32_t to) {
  std::memcpy(memory.base + to * page_bytes_, memory.base + from * page_bytes_, page_bytes_);
}

absl::Status CpuRunner::Prepare(absl::Span<const StepRow> rows, const KvMemory& memory) {
  PRECIS_TRY(plan_.Build(rows, {.vocab_size = config_.vocab_size,
                                .context_tokens = context_tokens_,
                                .pages = memory.pages,
                                .positions = config_.alibi ? Positions::kAlibi : Positions::kLearned}));
  int64_t workspace = 0;
  for (StepPlan::Group& group : plan_.groups) {
    if (group.sequences.empty()) continue;
    group.workspace_bytes = kernels::AttentionWorkspaceBytes(*group.variant, config_.n_head, config_.head_dim(),
                                                             group.sequences, pool_->threads(), workspace_limit_);
    workspace = std::max(workspace, group.workspace_bytes);
  }
  if (!buffers_.Reserve(config_, plan_.tokens.size(), plan_.logit_rows.size(), pool_->threads()) ||
      !buffers_.ReserveWorkspace(workspace, workspace_limit_)) {
    return absl::InternalError("no memory is left for the activations of a step");
  }
  return absl::OkStatus();
}

void CpuRunner::Embed() {
  const int64_t width = config_.n_embd;
  float* const scratch = buffers_.scratch.floats();
  pool_->ParallelFor(plan_.tokens.size(), [&](int64_t i, int worker) {
    float* x = buffers_.hidden.floats() + i * width;
    weights_.embedding().CopyOutputRow(plan_.tokens[i], x);
    if (weights_.positions == nullptr) return;
    float* position = scratch + worker * ((width + 15) / 16 * 16);
    weights_.positions->CopyOutputRow(plan_.positions[i], position);
    for (int64_t j = 0; j < width; ++j) x[j] += position[j];
  });
}

void CpuRunner::Norm(const NormWeights& norm, const float* x, int64_t rows, float* y) {
  kernels::LayerNorm(x, norm.gain.data(), norm.bias.data(), config_.layer_norm_epsilon, rows, config_.n_embd, y, isa_,
                     *pool_);
}

void CpuRunner::Multiply(const LinearWeights& linear, const float* x, float* y, Activation activation,
                         bool accumulate) {
  const PackedMatrix& matrix = *linear.matrix;
  matrix.Multiply({.x = x, .x_stride = matrix.in(), .y = y, .y_stride = matrix.out(),
                   .rows = static_cast<int64_t>(plan_.tokens.size()), .bias = linear.bias.data(),
                   .activation = activation, .accumulate = accumulate},
                  *pool_);
}

void CpuRunner::Attend(int index, const KvMemory& memory, bool timed) {
  const int64_t width = config_.n_embd;
  float* qkv = buffers_.wide.floats();
  kernels::AttentionArgs args;
  args.cache = LayerView(index, memory);
  kernels::WriteKv(args.cache, qkv + width, qkv + 2 * width, 3 * width, plan_.slots, isa_, *pool_);
  args.query = qkv;
  args.query_stride = 3 * width;
  args.output = qkv + 3 * width * plan_.tokens.size();
  args.output_stride = width;
  args.scale = config_.scale_attn_weights ? 1 / std::sqrt(static_cast<float>(config_.head_dim())) : 1.0f;
  if (config_.scale_attn_by_inverse_layer_idx) args.scale /= static_cast<float>(index + 1);
  args.alibi_slopes = alibi_slopes_;
  args.workspace = buffers_.workspace.data();
  args.workspace_bytes = buffers_.workspace.capacity();
  for (StepPlan::Group& group : plan_.groups) {
    if (group.sequences.empty()) continue;
    const auto begin = timed ? std::chrono::steady_clock::now() : std::chrono::steady_clock::time_point();
    args.sequences = group.sequences;
    kernels::RunAttention(*group.variant, args, isa_, *pool_);
    if (timed) group.time += absl::FromChrono(std::chrono::steady_clock::now() - begin);
  }
}

void CpuRunner::RunLayer(int index, const KvMemory& memory, bool timed) {
  const LayerWeights& layer = weights_.layers[index];
  const int64_t tokens = plan_.tokens.size();
  float* hidden = buffers_.hidden.floats();
  float* normed = buffers_.normed.floats();
  float* wide = buffers_.wide.floats();
  Norm(layer.attention_norm, hidden, tokens, normed);
  Multiply(layer.qkv, normed, wide, Activation::kNone, false);
  Attend(index, memory, timed);
  Multiply(layer.attention_out, wide + 3 * config_.n_embd * tokens, hidden, Activation::kNone, true);
  Norm(layer.mlp_norm, hidden, tokens, normed);
  Multiply(layer.mlp_in, normed, wide, activation_, false);
  Multiply(layer.mlp_out, wide, hidden, Activation::kNone, true);
}

void CpuRunner::Choose(const StepRow& row, float* logits, StepOutput* output) const {
  if (row.logits != nullptr) std::copy_n(logits, config_.vocab_size, row.logits);
  if (row.sampling != nullptr) {
    output->token = SampleToken(absl::MakeSpan(logits, config_.vocab_size), *row.sampling);
  }
}

void CpuRunner::RunHead(absl::Span<const StepRow> rows, absl::Span<StepOutput> outputs) {
  const int64_t width = config_.n_embd, vocabulary = config_.vocab_size;
  const int64_t count = plan_.logit_rows.size();
  float* gathered = buffers_.wide.floats();
  float* normed = buffers_.normed.floats();
  float* logits = buffers_.logits.floats();
  for (int64_t i = 0; i < count; ++i) {
    const int64_t token = plan_.last_token[plan_.logit_rows[i]];
    std::copy_n(buffers_.hidden.floats() + token * width, width, gathered + i * width);
  }
  Norm(weights_.final_norm, gathered, count, normed);
  for (int64_t begin = 0; begin < count; begin += StepBuffers::kLogitRows) {
    const int64_t chunk = std::min<int64_t>(StepBuffers::kLogitRows, count - begin);
    weights_.head->Multiply({.x = normed + begin * width, .x_stride = width, .y = logits, .y_stride = vocabulary,
                             .rows = chunk},
                            *pool_);
    pool_->ParallelFor(chunk, [&](int64_t i, int) {
      const int row = plan_.logit_rows[begin + i];
      Choose(rows[row], logits + i * vocabulary, &outputs[row]);
    });
  }
}

void CpuRunner::FillStats(StepStats* stats) const {
  stats->variants.clear();
  for (const StepPlan::Group& group : plan_.groups) {
    if (group.sequences.empty()) continue;
    stats->variants.push_back({group.variant, group.time, group.workspace_bytes});
  }
  stats->activations_bytes =
      buffers_.held_bytes() + static_cast<int64_t>(plan_.tokens.size()) * StepPlan::BytesPerToken();
}

absl::Status CpuRunner::Step(absl::Span<const StepRow> rows, const KvMemory& memory, bool timed,
                             absl::Span<StepOutput> outputs, StepStats* stats) {
  if (outputs.size() < rows.size()) return absl::InternalError("a step needs an output for each row");
  PRECIS_TRY(Prepare(rows, memory));
  for (StepOutput& output : outputs) output = StepOutput();
  if (!rows.empty()) {
    Embed();
    for (int i = 0; i < config_.n_layer; ++i) RunLayer(i, memory, timed);
    RunHead(rows, outputs);
  }
  if (stats != nullptr) FillStats(stats);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<ModelRunner>> LoadCpuRunner(const std::string& directory, const LoadOptions& options,
                                                           int context_limit,
                                                           std::shared_ptr<kernels::ThreadPool> pool) {
  const std::string config_path = directory + "/config.json";
  PRECIS_ASSIGN(const std::string text, ReadSmallFile(config_path, kMaxConfigBytes));
  PRECIS_ASSIGN(CheckpointConfig config, ParseConfig(text, config_path));
  PRECIS_ASSIGN(const TensorStore store, TensorStore::Open(directory));
  PRECIS_ASSIGN(Gpt2Weights weights, LoadGpt2Weights(store, config, options, *pool));
  return std::unique_ptr<ModelRunner>(
      std::make_unique<CpuRunner>(std::move(config), std::move(weights), options, context_limit, std::move(pool)));
}

}  // namespace precis::runtime
