#include "runtime/model/gpu_forward.h"

#include <algorithm>
#include <cmath>

#include "runtime/model/status_macros.h"

namespace precis::runtime {
namespace {

using kernels::GpuActivation;
using kernels::GpuType;
using kernels::Stream;

int64_t WideElements(const ModelConfig& config) { return std::max(4 * config.n_embd, config.n_inner); }

// Rows that padding may add to a step of so many tokens.
int64_t PaddedRows(int64_t tokens) { return tokens + GpuBatch::kLogitRows / 8 + 4; }

}  // namespace

AttentionTimer::~AttentionTimer() {
  for (kernels::Event event : events_) device_->DeleteEvent(event);
}

absl::Status AttentionTimer::Begin(const kernels::AttentionVariant* variant, Stream stream) {
  used_.push_back(variant);
  while (events_.size() < 2 * used_.size()) {
    PRECIS_ASSIGN(const kernels::Event event, device_->NewEvent());
    events_.push_back(event);
  }
  device_->Record(events_[2 * used_.size() - 2], stream);
  return absl::OkStatus();
}

void AttentionTimer::End(Stream stream) { device_->Record(events_[2 * used_.size() - 1], stream); }

absl::Duration AttentionTimer::Of(const kernels::AttentionVariant* variant) const {
  double seconds = 0;
  for (size_t i = 0; i < used_.size(); ++i) {
    if (used_[i] == variant) seconds += device_->SecondsBetween(events_[2 * i], events_[2 * i + 1]);
  }
  return absl::Seconds(seconds);
}

int64_t GpuForward::ActivationBytes(const ModelConfig& config, int64_t element, int64_t tokens, int64_t samples) {
  const int64_t width = config.n_embd;
  return PaddedRows(tokens) * (width * 4 + (width + WideElements(config)) * element) +
         std::min<int64_t>(samples, GpuBatch::kLogitRows) * config.vocab_size * 4;
}

int64_t GpuForward::GemmWorkspace(int tokens) const {
  const int width = config_.n_embd;
  const auto bytes = [&](int m, int n, int k) { return ops_.gemm_workspace_bytes(m, n, k, mode_); };
  int64_t most = 0;
  for (int m : {tokens, 1, 8, 32, 64, 128}) {
    if (m > tokens) continue;
    most = std::max({most, bytes(m, 3 * width, width), bytes(m, width, width), bytes(m, config_.n_inner, width), bytes(m, width, config_.n_inner),
                     bytes(std::min(m, GpuBatch::kLogitRows), config_.vocab_size, width)});
  }
  return most;
}

int64_t GpuForward::Need(const GpuPart& part) const {
  const int heads = config_.n_head, dim = config_.head_dim();
  if (part.variant->algorithm == kernels::Algorithm::kMaterialised) {
    return ops_.standard_workspace_bytes(heads, dim, part.max_query, part.max_context, part.total_queries, weights_.activation_type);
  }
  if (part.decode) return ops_.decode_workspace_bytes(heads, dim, part.count, part.max_context);
  const bool alibi = part.variant->positions == kernels::Positions::kAlibi && weights_.activation_type == GpuType::kBf16;
  return ops_.flash_prefill_workspace_bytes(heads, dim, part.count, part.max_query, part.max_context, alibi);
}

int64_t GpuForward::WorkspaceBytes(const GpuPart& part) const { return std::min(Need(part), workspace_bytes_); }

absl::Status GpuForward::Reserve(int tokens, int64_t workspace_limit, GpuMemory* memory, Stream stream) {
  rows_ = static_cast<int>(PaddedRows(tokens));
  const int64_t width = config_.n_embd, rows = rows_, samples = std::min(rows_, GpuBatch::kLogitRows);
  PRECIS_ASSIGN(hidden_, memory->Allocate(rows * width * 4, "activations"));
  PRECIS_ASSIGN(normed_, memory->Allocate(rows * width * Element(), "activations"));
  PRECIS_ASSIGN(wide_, memory->Allocate(rows * WideElements(config_) * Element(), "activations"));
  PRECIS_ASSIGN(logits_, memory->Allocate(samples * config_.vocab_size * 4, "logits"));
  PRECIS_ASSIGN(chosen_, memory->Allocate(rows * 4, "tokens"));
  PRECIS_ASSIGN(char* counters, memory->Allocate(rows * config_.n_head * 4, "attention's counters"));
  counters_ = reinterpret_cast<uint32_t*>(counters);
  device_->Fill(counters, 0, rows * config_.n_head * 4, stream);
  // One query at the full context always fits; more up to the limit.
  const kernels::AttentionVariant* standard = kernels::FindAttentionVariant("standard");
  const kernels::AttentionVariant* flash = kernels::FindAttentionVariant("flash");
  const kernels::AttentionVariant* alibi = kernels::FindAttentionVariant("flash_alibi");
  const int context = context_tokens_;
  const int64_t least = std::max({Need({standard, false, 0, 1, 1, context, 1}), Need({standard, true, 0, 1, 1, context, 1}),
                                  Need({flash, true, 0, 1, 1, context, 1}), GemmWorkspace(tokens),
                                  ops_.sample_workspace_bytes(static_cast<int>(samples), config_.vocab_size)});
  const int64_t most = std::max({Need({standard, false, 0, 1, std::min(rows_, context), context, rows_}), Need({standard, true, 0, rows_, 1, context, rows_}),
                                 Need({flash, true, 0, rows_, 1, context, rows_}), Need({alibi, false, 0, rows_ / 256 + 1, std::min(rows_, context), context, rows_})});
  workspace_bytes_ = std::max(least, std::min(most, workspace_limit));
  PRECIS_ASSIGN(workspace_, memory->Allocate(workspace_bytes_, "attention's workspace"));
  return absl::OkStatus();
}

// Beside the queries, keys and values.
char* GpuForward::AttentionOutput() const { return wide_ + int64_t{3} * config_.n_embd * rows_ * Element(); }

void GpuForward::Norm(const GpuNorm& norm, const int32_t* row_index, int rows, Stream stream) {
  ops_.layer_norm({.x = reinterpret_cast<float*>(hidden_), .delta = nullptr, .delta_bias = nullptr, .gain = norm.gain, .bias = norm.bias,
                   .row_index = row_index, .y = normed_, .type = weights_.activation_type, .epsilon = config_.layer_norm_epsilon,
                   .rows = rows, .width = config_.n_embd}, stream);
}

kernels::GemmArgs GpuForward::Product(const GpuMatrix& w, const void* x, void* y, int rows, GpuType y_type) const {
  kernels::GemmArgs args = {};
  args.x = x;
  args.x_stride = w.in;
  args.w = w.data;
  args.w_scale = w.scale;
  args.y = y;
  args.y_stride = w.out;
  args.m = rows;
  args.n = w.out;
  args.k = w.in;
  args.x_type = weights_.activation_type;
  args.w_type = w.type;
  args.y_type = y_type;
  args.mode = mode_;
  args.workspace = workspace_;
  args.workspace_bytes = workspace_bytes_;
  return args;
}

kernels::GemmArgs GpuForward::Linear(const GpuLinear& linear, const void* x, void* y, int rows) const {
  kernels::GemmArgs args = Product(linear.matrix, x, y, rows, weights_.activation_type);
  args.bias = linear.bias;
  args.bias_bf16 = linear.bias_bf16;
  return args;
}

void GpuForward::AddTo(const GpuLinear& linear, const void* x, int rows, Stream stream) {
  kernels::GemmArgs args = Linear(linear, x, hidden_, rows);
  args.y_type = GpuType::kF32;
  args.accumulate = true;
  ops_.gemm(args, stream);
}

// Into wide_; in one launch where that is to be had.
void GpuForward::NormAndMultiply(const GpuNorm& norm, const GpuLinear& linear, int rows, GpuActivation activation, Stream stream) {
  kernels::GemmArgs args = Linear(linear, hidden_, wide_, rows);
  args.activation = activation;
  args.norm_gain = norm.gain;
  args.norm_bias = norm.bias;
  args.norm_epsilon = config_.layer_norm_epsilon;
  if (weights_.activation_type == GpuType::kBf16) {
    args.x_type = GpuType::kF32;
    if (ops_.fused_norm_gemm_takes(args)) return ops_.fused_norm_gemm(args, stream);
    args.x_type = GpuType::kBf16;
  }
  Norm(norm, nullptr, rows, stream);
  args.x = normed_;
  ops_.gemm(args, stream);
}

// Decode sequences go in pieces that the workspace holds; prefill cuts itself.
void GpuForward::AttendPart(const GpuPart& whole, const GpuBatch& batch, kernels::GpuAttentionArgs& args, Stream stream) {
  const bool standard = whole.variant->algorithm == kernels::Algorithm::kMaterialised;
  const auto run = whole.decode ? (standard ? ops_.standard_decode : ops_.flash_decode) : standard ? ops_.standard_prefill : ops_.flash_prefill;
  GpuPart part = whole;
  while (whole.decode && part.count > 1 && Need(part) > workspace_bytes_) part.total_queries = part.count = (part.count + 1) / 2;
  for (int done = 0; done < whole.count; done += part.count) {
    args.sequences = batch.Sequences(whole, done, std::min(part.count, whole.count - done));
    run(args, stream);
  }
}

absl::Status GpuForward::Attend(int index, const GpuBatch& batch, const KvMemory& memory, AttentionTimer* timer, Stream stream) {
  const int64_t width = config_.n_embd;
  const int64_t part_bytes = kernels::KvPageBytes(weights_.activation_type == GpuType::kF32 ? kernels::DType::kF32 : kernels::DType::kBf16,
                                                  config_.n_head, config_.head_dim());
  kernels::GpuAttentionArgs args = {};
  char* keys = memory.base + 2 * index * part_bytes;
  args.cache = {.keys = keys, .values = keys + part_bytes, .page_stride = (2 * config_.n_layer * part_bytes + 63) / 64 * 64,
                .type = weights_.activation_type, .heads = config_.n_head, .head_dim = config_.head_dim(), .arena = memory.base,
                .part_bytes = part_bytes, .pages = memory.pages, .parts = 2 * config_.n_layer, .key_part = 2 * index};
  ops_.write_kv({.qkv = wide_, .qkv_stride = 3 * width, .slots = batch.slots(), .cache = args.cache, .rows = batch.tokens()}, stream);
  args.qkv = wide_;
  args.qkv_stride = 3 * width;
  args.qkv_rows = batch.tokens();
  args.output = AttentionOutput();
  args.output_stride = width;
  args.scale = config_.scale_attn_weights ? 1 / std::sqrt(static_cast<float>(config_.head_dim())) : 1.0f;
  if (config_.scale_attn_by_inverse_layer_idx) args.scale /= static_cast<float>(index + 1);
  args.alibi_slopes = slopes_;
  args.workspace = workspace_;
  args.workspace_bytes = workspace_bytes_;
  args.mode = mode_;
  args.decode_counters = counters_;
  args.only_last_is_new = batch.decode_only();  // a row a sequence, and the batch was copied before the first kernel
  for (const GpuPart& part : batch.parts()) {
    if (timer != nullptr) PRECIS_TRY(timer->Begin(part.variant, stream));
    AttendPart(part, batch, args, stream);
    if (timer != nullptr) timer->End(stream);
  }
  return absl::OkStatus();
}

absl::Status GpuForward::Layers(const GpuBatch& batch, const KvMemory& memory, AttentionTimer* timer, Stream stream) {
  const int rows = batch.tokens();
  ops_.embed({.tokens = batch.token_ids(), .chosen = chosen(), .positions = batch.positions(), .token_table = weights_.embedding.data,
              .position_table = weights_.positions.data, .token_scale = weights_.embedding.scale, .position_scale = weights_.positions.scale,
              .table_type = weights_.embedding.type, .x = reinterpret_cast<float*>(hidden_), .rows = rows, .width = config_.n_embd}, stream);
  for (int i = 0; i < config_.n_layer; ++i) {
    const GpuLayer& layer = weights_.layers[i];
    NormAndMultiply(layer.attention_norm, layer.qkv, rows, GpuActivation::kNone, stream);
    PRECIS_TRY(Attend(i, batch, memory, timer, stream));
    AddTo(layer.attention_out, AttentionOutput(), rows, stream);
    NormAndMultiply(layer.mlp_norm, layer.mlp_in, rows, activation_, stream);
    AddTo(layer.mlp_out, wide_, rows, stream);
  }
  return absl::OkStatus();
}

void GpuForward::Head(const GpuBatch& batch, int begin, int count, Stream stream) {
  Norm(weights_.final_norm, batch.last() + begin, count, stream);
  ops_.gemm(Product(weights_.head, normed_, logits_, count, GpuType::kF32), stream);
  ops_.sample({.logits = logits(), .stride = config_.vocab_size, .vocab = config_.vocab_size, .rows = count, .rows_options = batch.sampling() + begin,
               .edits = batch.edits(), .tokens = reinterpret_cast<int32_t*>(chosen_) + begin, .workspace = workspace_,
               .workspace_bytes = workspace_bytes_}, stream);
}

}  // namespace precis::runtime
