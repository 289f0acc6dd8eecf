// The forward pass of cpu_runner.cc on a GpuDevice. Everything is allocated in Reserve; a step makes one copy to the device (its metadata), enqueues
// its kernels and waits once for the logits of each kLogitRows rows, from which the host samples.

#include "runtime/model/gpu_runner.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "kernels/gpu/gpu_ops.h"
#include "runtime/model/config_json.h"
#include "runtime/model/gpt2_weights.h"
#include "runtime/model/gpu_weights.h"
#include "runtime/model/mapped_file.h"
#include "runtime/model/status_macros.h"
#include "runtime/model/step_plan.h"
#include "runtime/model/text.h"

namespace precis::runtime {
namespace {

using kernels::DType;
using kernels::GpuActivation;
using kernels::GpuType;
using kernels::Positions;

constexpr int kLogitRows = 32;

// Sequences of one variant that one launch takes: those at [first, first + count) of the metadata's arrays.
struct Part {
  const kernels::AttentionVariant* variant;
  bool decode;
  int first, count, max_query, max_context, total_queries;
};

// Host and device addresses of the same metadata; offsets in bytes.
struct Metadata {
  int64_t slots, tokens, positions, last, begin, count, context, table, bytes;
};

int64_t Align(int64_t bytes) { return (bytes + 255) / 256 * 256; }

class GpuRunner : public ModelRunner {
 public:
  GpuRunner(std::shared_ptr<kernels::GpuDevice> device, CheckpointConfig config, int context_tokens)
      : device_(std::move(device)), ops_(device_->ops()), memory_(device_.get()), config_(config.model),
        activation_(static_cast<GpuActivation>(config.activation)), context_tokens_(context_tokens) {}
  ~GpuRunner() override { device_->DeleteStream(stream_); }

  absl::Status Upload(const Gpt2Weights& weights);

  const ModelConfig& config() const override { return config_; }
  std::string_view device() const override { return device_->kind(); }
  DType weights_dtype() const override { return dtype_; }
  int context_tokens() const override { return context_tokens_; }
  int64_t weights_bytes() const override { return weights_bytes_; }
  int64_t parameters() const override { return parameters_; }
  int64_t page_bytes() const override { return page_bytes_; }
  int64_t ActivationBytes(int tokens, int sampled) const override;
  void SetLimits(int64_t attention_workspace_bytes) override { workspace_limit_ = attention_workspace_bytes; }
  absl::StatusOr<KvMemory> Reserve(int64_t pages, int step_tokens) override;
  absl::Status Step(absl::Span<const StepRow> rows, const KvMemory& memory, bool timed, absl::Span<StepOutput> outputs, StepStats* stats) override;
  void CopyPage(const KvMemory& memory, int32_t from, int32_t to) override {
    device_->CopyOnDevice(memory.base + to * page_bytes_, memory.base + from * page_bytes_, page_bytes_, stream_);
  }

 private:
  int64_t Element() const { return weights_.activation_type == GpuType::kF32 ? 4 : 2; }
  int Stride() const { return (context_tokens_ + kernels::kPageTokens - 1) / kernels::kPageTokens; }
  int64_t WideElements() const { return std::max(4 * config_.n_embd, config_.n_inner); }
  Metadata Layout(int64_t tokens) const;
  int64_t GemmWorkspace(int tokens) const;
  // Of a launch of this part.
  int64_t Need(const Part& part) const;
  void Fill(absl::Span<const StepRow> rows);
  void AddSequences(absl::Span<const StepRow> rows, const StepPlan::Group& group, bool decode);
  void AddSequence(int begin, int count, int context, const int32_t* pages);
  void RunLayer(int index, const KvMemory& memory);
  void Attend(int index, const KvMemory& memory);
  void Norm(const GpuNorm& norm, const int32_t* row_index, int rows);
  kernels::GemmArgs Product(const GpuMatrix& w, const void* x, void* y, int rows, GpuType y_type) const;
  void Multiply(const GpuLinear& linear, const void* x, void* y, int rows, bool residual, GpuActivation activation);
  absl::Status RunHead(absl::Span<const StepRow> rows, absl::Span<StepOutput> outputs);
  template <class T>
  T* Host(int64_t offset) const { return reinterpret_cast<T*>(host_ + offset); }
  template <class T>
  const T* Device(int64_t offset) const { return reinterpret_cast<const T*>(meta_ + offset); }

  const std::shared_ptr<kernels::GpuDevice> device_;
  const kernels::GpuOps& ops_;
  GpuMemory memory_;
  kernels::Stream stream_;
  const ModelConfig config_;
  const GpuActivation activation_;
  const int context_tokens_;
  GpuWeights weights_;
  DType dtype_ = DType::kF32;
  int64_t weights_bytes_ = 0, parameters_ = 0, part_bytes_ = 0, page_bytes_ = 0;
  int64_t workspace_limit_ = int64_t{256} << 20, workspace_bytes_ = 0, activations_bytes_ = 0;
  const float* slopes_ = nullptr;
  int capacity_ = 0;  // tokens of a step
  Metadata at_ = {};
  char *host_ = nullptr, *meta_ = nullptr, *hidden_ = nullptr, *normed_ = nullptr, *wide_ = nullptr, *logits_ = nullptr, *workspace_ = nullptr;
  float* host_logits_ = nullptr;
  StepPlan plan_;
  std::vector<Part> parts_;
  int sequences_ = 0;
};

absl::Status GpuRunner::Upload(const Gpt2Weights& weights) {
  PRECIS_ASSIGN(stream_, device_->NewStream());
  PRECIS_ASSIGN(weights_, UploadWeights(weights, device_.get(), stream_, &memory_));
  dtype_ = weights.dtype;
  parameters_ = weights.parameters;
  const DType kv = weights_.activation_type == GpuType::kF32 ? DType::kF32 : DType::kBf16;
  part_bytes_ = kernels::KvPageBytes(kv, config_.n_head, config_.head_dim());
  page_bytes_ = (2 * config_.n_layer * part_bytes_ + 63) / 64 * 64;
  if (config_.alibi) {
    const std::vector<float> slopes = kernels::AlibiSlopes(config_.n_head);
    PRECIS_ASSIGN(char* copy, memory_.Allocate(slopes.size() * sizeof(float), "the slopes"));
    device_->CopyToDevice(copy, slopes.data(), slopes.size() * sizeof(float), stream_);
    PRECIS_TRY(device_->Synchronize(stream_));
    slopes_ = reinterpret_cast<const float*>(copy);
  }
  weights_bytes_ = memory_.bytes();
  return absl::OkStatus();
}

Metadata GpuRunner::Layout(int64_t tokens) const {
  Metadata m;
  int64_t at = 0;
  const auto take = [&](int64_t count, int64_t size) { return std::exchange(at, at + Align(count * size)); };
  m.slots = take(tokens, 8);
  m.tokens = take(tokens, 4);
  m.positions = take(tokens, 4);
  m.last = take(tokens, 4);
  m.begin = take(tokens, 4);
  m.count = take(tokens, 4);
  m.context = take(tokens, 4);
  m.table = take(tokens * Stride(), 4);  // last, so that only the used part is copied
  m.bytes = at;
  return m;
}

int64_t GpuRunner::ActivationBytes(int tokens, int sampled) const {
  const int64_t width = config_.n_embd;
  return Layout(tokens).bytes + tokens * (width * 4 + (width + WideElements()) * Element()) +
         std::min<int64_t>(sampled, kLogitRows) * config_.vocab_size * 4;
}

int64_t GpuRunner::GemmWorkspace(int tokens) const {
  const int width = config_.n_embd;
  const auto bytes = [&](int m, int n, int k) { return ops_.gemm_workspace_bytes(m, n, k, kernels::GemmMode::kInvariant); };
  int64_t most = 0;
  for (int m : {tokens, 1, 8, 32, 64, 128}) {
    if (m > tokens) continue;
    most = std::max({most, bytes(m, 3 * width, width), bytes(m, width, width), bytes(m, config_.n_inner, width), bytes(m, width, config_.n_inner)});
  }
  return std::max(most, bytes(kLogitRows, config_.vocab_size, width));
}

int64_t GpuRunner::Need(const Part& part) const {
  const int heads = config_.n_head, dim = config_.head_dim();
  if (part.variant->algorithm == kernels::Algorithm::kMaterialised) {
    return ops_.standard_workspace_bytes(heads, dim, part.max_query, part.max_context, part.total_queries, weights_.activation_type);
  }
  return part.decode ? ops_.decode_workspace_bytes(heads, dim, part.count, part.max_context) : 0;
}

absl::StatusOr<KvMemory> GpuRunner::Reserve(int64_t pages, int step_tokens) {
  capacity_ = step_tokens;
  at_ = Layout(capacity_);
  const int64_t width = config_.n_embd, rows = capacity_;
  PRECIS_ASSIGN(char* base, memory_.Allocate(pages * page_bytes_, "the KV cache"));
  PRECIS_ASSIGN(host_, memory_.AllocatePinned(at_.bytes, "a step's metadata"));
  PRECIS_ASSIGN(char* host_logits, memory_.AllocatePinned(int64_t{kLogitRows} * config_.vocab_size * 4, "logits"));
  host_logits_ = reinterpret_cast<float*>(host_logits);
  PRECIS_ASSIGN(meta_, memory_.Allocate(at_.bytes, "a step's metadata"));
  PRECIS_ASSIGN(hidden_, memory_.Allocate(rows * width * 4, "activations"));
  PRECIS_ASSIGN(normed_, memory_.Allocate(std::max<int64_t>(rows, 1) * width * Element(), "activations"));
  PRECIS_ASSIGN(wide_, memory_.Allocate(rows * WideElements() * Element(), "activations"));
  PRECIS_ASSIGN(logits_, memory_.Allocate(int64_t{kLogitRows} * config_.vocab_size * 4, "logits"));
  activations_bytes_ = ActivationBytes(capacity_, kLogitRows);
  // One query at the full context always fits; more up to the limit.
  const kernels::AttentionVariant* standard = kernels::FindAttentionVariant("standard");
  const kernels::AttentionVariant* flash = kernels::FindAttentionVariant("flash");
  const int context = context_tokens_;
  const int64_t least = std::max({Need({standard, false, 0, 1, 1, context, 1}), Need({standard, true, 0, 1, 1, context, 1}),
                                  Need({flash, true, 0, 1, 1, context, 1}), GemmWorkspace(capacity_)});
  const int64_t most = std::max({Need({standard, false, 0, 1, std::min(capacity_, context), context, capacity_}),
                                 Need({standard, true, 0, capacity_, 1, context, capacity_}), Need({flash, true, 0, capacity_, 1, context, capacity_})});
  workspace_bytes_ = std::max(least, std::min(most, workspace_limit_));
  PRECIS_ASSIGN(workspace_, memory_.Allocate(workspace_bytes_, "attention's workspace"));
  return KvMemory{base, pages};
}

void GpuRunner::AddSequence(int begin, int count, int context, const int32_t* pages) {
  const int i = sequences_++;
  Host<int32_t>(at_.begin)[i] = begin;
  Host<int32_t>(at_.count)[i] = count;
  Host<int32_t>(at_.context)[i] = context;
  int32_t* table = Host<int32_t>(at_.table) + int64_t{i} * Stride();
  const int used = (context + kernels::kPageTokens - 1) / kernels::kPageTokens;
  std::copy_n(pages, used, table);
  std::fill(table + used, table + Stride(), 0);
  Part& part = parts_.back();
  ++part.count;
  part.max_query = std::max(part.max_query, count);
  part.max_context = std::max(part.max_context, context);
  part.total_queries += count;
}

// A row that goes on after generated tokens, or runs them again, is decode: each of its tokens is a sequence of one query, so that its bits are those
// of the step that first ran it. All other rows are prefill, however short.
bool IsDecode(const StepRow& row) { return row.replay || (row.sampling != nullptr && !row.sampling->generated.empty()); }

void GpuRunner::AddSequences(absl::Span<const StepRow> rows, const StepPlan::Group& group, bool decode) {
  parts_.push_back({group.variant, decode, sequences_, 0, 0, 0, 0});
  for (size_t i = 0; i < rows.size(); ++i) {
    const StepRow& row = rows[i];
    if (row.variant->name != group.variant->name || IsDecode(row) != decode) continue;
    const int count = static_cast<int>(row.tokens.size()), begin = plan_.last_token[i] - count + 1;
    if (!decode) AddSequence(begin, count, row.position + count, row.block_table);
    for (int j = 0; decode && j < count; ++j) AddSequence(begin + j, 1, row.position + j + 1, row.block_table);
  }
  if (parts_.back().count == 0) parts_.pop_back();
}

void GpuRunner::Fill(absl::Span<const StepRow> rows) {
  parts_.clear();
  sequences_ = 0;
  for (const StepPlan::Group& group : plan_.groups) {
    if (group.sequences.empty()) continue;
    AddSequences(rows, group, false);
    AddSequences(rows, group, true);
  }
  std::copy(plan_.slots.begin(), plan_.slots.end(), Host<int64_t>(at_.slots));
  std::copy(plan_.tokens.begin(), plan_.tokens.end(), Host<int32_t>(at_.tokens));
  std::copy(plan_.positions.begin(), plan_.positions.end(), Host<int32_t>(at_.positions));
  for (size_t i = 0; i < plan_.logit_rows.size(); ++i) Host<int32_t>(at_.last)[i] = plan_.last_token[plan_.logit_rows[i]];
  device_->CopyToDevice(meta_, host_, at_.table + int64_t{sequences_} * Stride() * 4, stream_);
}

void GpuRunner::Norm(const GpuNorm& norm, const int32_t* row_index, int rows) {
  ops_.layer_norm({.x = reinterpret_cast<float*>(hidden_), .delta = nullptr, .delta_bias = nullptr, .gain = norm.gain, .bias = norm.bias,
                   .row_index = row_index, .y = normed_, .type = weights_.activation_type, .epsilon = config_.layer_norm_epsilon,
                   .rows = rows, .width = config_.n_embd}, stream_);
}

kernels::GemmArgs GpuRunner::Product(const GpuMatrix& w, const void* x, void* y, int rows, GpuType y_type) const {
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
  args.mode = kernels::GemmMode::kInvariant;
  args.workspace = workspace_;
  args.workspace_bytes = workspace_bytes_;
  return args;
}

void GpuRunner::Multiply(const GpuLinear& linear, const void* x, void* y, int rows, bool residual, GpuActivation activation) {
  kernels::GemmArgs args = Product(linear.matrix, x, y, rows, residual ? GpuType::kF32 : weights_.activation_type);
  args.bias = linear.bias;
  args.activation = activation;
  args.accumulate = residual;
  ops_.gemm(args, stream_);
}

void GpuRunner::Attend(int index, const KvMemory& memory) {
  const int64_t width = config_.n_embd, tokens = plan_.tokens.size();
  kernels::GpuAttentionArgs args = {};
  char* keys = memory.base + 2 * index * part_bytes_;
  args.cache = {.keys = keys, .values = keys + part_bytes_, .page_stride = page_bytes_, .type = weights_.activation_type, .heads = config_.n_head,
                .head_dim = config_.head_dim(), .arena = memory.base, .part_bytes = part_bytes_, .pages = memory.pages,
                .parts = 2 * config_.n_layer, .key_part = 2 * index};
  ops_.write_kv({.qkv = wide_, .qkv_stride = 3 * width, .slots = Device<int64_t>(at_.slots), .cache = args.cache, .rows = static_cast<int>(tokens)}, stream_);
  args.qkv = wide_;
  args.qkv_stride = 3 * width;
  args.qkv_rows = tokens;
  args.output = wide_ + 3 * width * capacity_ * Element();
  args.output_stride = width;
  args.scale = config_.scale_attn_weights ? 1 / std::sqrt(static_cast<float>(config_.head_dim())) : 1.0f;
  if (config_.scale_attn_by_inverse_layer_idx) args.scale /= static_cast<float>(index + 1);
  args.alibi_slopes = slopes_;
  args.workspace = workspace_;
  args.workspace_bytes = workspace_bytes_;
  args.mode = kernels::GemmMode::kInvariant;
  for (const Part& whole : parts_) {
    const bool standard = whole.variant->algorithm == kernels::Algorithm::kMaterialised;
    const auto run = whole.decode ? (standard ? ops_.standard_decode : ops_.flash_decode) : standard ? ops_.standard_prefill : ops_.flash_prefill;
    // Decode sequences go in pieces that the workspace holds; prefill cuts itself.
    Part part = whole;
    while (whole.decode && part.count > 1 && Need(part) > workspace_bytes_) part.total_queries = part.count = (part.count + 1) / 2;
    const int piece = part.count;
    for (int done = 0; done < whole.count; done += piece) {
      const int count = std::min(piece, whole.count - done), first = whole.first + done;
      args.sequences = {.query_begin = Device<int32_t>(at_.begin) + first, .query_count = Device<int32_t>(at_.count) + first,
                        .context_length = Device<int32_t>(at_.context) + first,
                        .block_table = Device<int32_t>(at_.table) + int64_t{first} * Stride(), .block_table_stride = Stride(), .count = count,
                        .max_query = whole.max_query, .max_context = whole.max_context,
                        .total_queries = whole.decode ? count : whole.total_queries,
                        .host_query_begin = Host<int32_t>(at_.begin) + first, .host_query_count = Host<int32_t>(at_.count) + first,
                        .host_context_length = Host<int32_t>(at_.context) + first};
      run(args, stream_);
    }
  }
}

void GpuRunner::RunLayer(int index, const KvMemory& memory) {
  const GpuLayer& layer = weights_.layers[index];
  const int tokens = static_cast<int>(plan_.tokens.size());
  Norm(layer.attention_norm, nullptr, tokens);
  Multiply(layer.qkv, normed_, wide_, tokens, false, GpuActivation::kNone);
  Attend(index, memory);
  Multiply(layer.attention_out, wide_ + int64_t{3} * config_.n_embd * capacity_ * Element(), hidden_, tokens, true, GpuActivation::kNone);
  Norm(layer.mlp_norm, nullptr, tokens);
  Multiply(layer.mlp_in, normed_, wide_, tokens, false, activation_);
  Multiply(layer.mlp_out, wide_, hidden_, tokens, true, GpuActivation::kNone);
}

absl::Status GpuRunner::RunHead(absl::Span<const StepRow> rows, absl::Span<StepOutput> outputs) {
  const int count = static_cast<int>(plan_.logit_rows.size()), vocabulary = config_.vocab_size;
  for (int begin = 0; begin < count; begin += kLogitRows) {
    const int chunk = std::min(kLogitRows, count - begin);
    Norm(weights_.final_norm, Device<int32_t>(at_.last) + begin, chunk);
    ops_.gemm(Product(weights_.head, normed_, logits_, chunk, GpuType::kF32), stream_);
    device_->CopyToHost(host_logits_, logits_, int64_t{chunk} * vocabulary * 4, stream_);
    PRECIS_TRY(device_->Synchronize(stream_));
    for (int i = 0; i < chunk; ++i) {
      const int row = plan_.logit_rows[begin + i];
      float* logits = host_logits_ + int64_t{i} * vocabulary;
      if (rows[row].logits != nullptr) std::copy_n(logits, vocabulary, rows[row].logits);
      if (rows[row].sampling != nullptr) outputs[row].token = SampleToken(absl::MakeSpan(logits, vocabulary), *rows[row].sampling);
    }
  }
  return count > 0 ? absl::OkStatus() : device_->Synchronize(stream_);  // the next step fills the metadata anew
}

absl::Status GpuRunner::Step(absl::Span<const StepRow> rows, const KvMemory& memory, bool timed, absl::Span<StepOutput> outputs, StepStats* stats) {
  (void)timed;
  if (outputs.size() < rows.size()) return absl::InternalError("a step needs an output for each row");
  PRECIS_TRY(plan_.Build(rows, {.vocab_size = config_.vocab_size, .context_tokens = context_tokens_, .pages = memory.pages,
                                .positions = config_.alibi ? Positions::kAlibi : Positions::kLearned}));
  const int64_t tokens = plan_.tokens.size();
  if (tokens > capacity_) return absl::InternalError(Cat("a step of ", tokens, " tokens, but memory was reserved for ", capacity_));
  for (StepOutput& output : outputs) output = StepOutput();
  if (rows.empty()) return absl::OkStatus();
  Fill(rows);
  ops_.embed({.tokens = Device<int32_t>(at_.tokens), .positions = Device<int32_t>(at_.positions), .token_table = weights_.embedding.data,
              .position_table = weights_.positions.data, .token_scale = weights_.embedding.scale, .position_scale = weights_.positions.scale,
              .table_type = weights_.embedding.type, .x = reinterpret_cast<float*>(hidden_), .rows = static_cast<int>(tokens), .width = config_.n_embd}, stream_);
  for (int i = 0; i < config_.n_layer; ++i) RunLayer(i, memory);
  PRECIS_TRY(RunHead(rows, outputs));
  if (stats == nullptr) return absl::OkStatus();
  stats->variants.clear();
  for (const StepPlan::Group& group : plan_.groups) {
    int64_t bytes = 0;
    for (const Part& part : parts_) {
      if (part.variant == group.variant) bytes = std::max(bytes, std::min(Need(part), workspace_bytes_));
    }
    if (!group.sequences.empty()) stats->variants.push_back({group.variant, absl::ZeroDuration(), bytes});
  }
  stats->activations_bytes = activations_bytes_;
  return absl::OkStatus();
}

absl::Status CheckHeadSize(int head_dim, const std::string& config_path) {
  for (int size : {32, 64, 80, 96, 128}) {
    if (head_dim == size) return absl::OkStatus();
  }
  return absl::InvalidArgumentError(Cat(config_path, ": n_embd / n_head is ", head_dim,
                                        "; a GPU's attention takes 32, 64, 80, 96 or 128: serve this model with --device=cpu"));
}

}  // namespace

absl::StatusOr<std::unique_ptr<ModelRunner>> LoadGpuRunner(const std::string& directory, const LoadOptions& options, int context_limit,
                                                           std::shared_ptr<kernels::ThreadPool> pool, std::shared_ptr<kernels::GpuDevice> device) {
  const std::string config_path = directory + "/config.json";
  PRECIS_ASSIGN(const std::string text, ReadSmallFile(config_path, kMaxConfigBytes));
  PRECIS_ASSIGN(CheckpointConfig config, ParseConfig(text, config_path));
  PRECIS_TRY(CheckHeadSize(config.model.head_dim(), config_path));
  PRECIS_ASSIGN(const TensorStore store, TensorStore::Open(directory));
  PRECIS_ASSIGN(const Gpt2Weights weights, LoadGpt2Weights(store, config, options, *pool));
  const int own = config.model.alibi ? options.alibi_context_tokens : config.model.n_positions;
  auto runner = std::make_unique<GpuRunner>(std::move(device), config, context_limit > 0 ? std::min(own, context_limit) : own);
  PRECIS_TRY(runner->Upload(weights));
  return std::unique_ptr<ModelRunner>(std::move(runner));
}

}  // namespace precis::runtime
