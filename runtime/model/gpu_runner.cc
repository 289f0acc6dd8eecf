// The forward pass of cpu_runner.cc on a GpuDevice. Everything is allocated in Reserve; a step makes one copy to the device (its metadata), enqueues its
// kernels or launches their graph, and waits once, for the chosen tokens. The next step may be enqueued before that wait: it finds the tokens on the device.

#include "runtime/model/gpu_runner.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "kernels/gpu/gpu_ops.h"
#include "runtime/model/config_json.h"
#include "runtime/model/gpt2_weights.h"
#include "runtime/model/gpu_batch.h"
#include "runtime/model/gpu_forward.h"
#include "runtime/model/gpu_graphs.h"
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

constexpr int kHostRows = 32;           // of logits that are copied to the host at a time
constexpr int kTimedDecodeInterval = 8;  // of the decode steps whose attention is to be timed, one in so many is: it can't be a graph

class GpuRunner : public ModelRunner {
 public:
  GpuRunner(std::shared_ptr<kernels::GpuDevice> device, const CheckpointConfig& config, int context_tokens)
      : device_(std::move(device)), memory_(device_.get()), config_(config.model), context_tokens_(context_tokens),
        forward_(device_.get(), config_, static_cast<GpuActivation>(config.activation), context_tokens), timer_(device_.get()), graphs_(device_.get()) {}
  ~GpuRunner() override {
    for (const Flight& flight : flights_) {
      if (flight.done.handle != nullptr) device_->DeleteEvent(flight.done);
    }
    device_->DeleteStream(stream_);
  }

  absl::Status Upload(const Gpt2Weights& weights);

  const ModelConfig& config() const override { return config_; }
  std::string_view device() const override { return device_->kind(); }
  DType weights_dtype() const override { return dtype_; }
  int context_tokens() const override { return context_tokens_; }
  int64_t weights_bytes() const override { return weights_bytes_; }
  int64_t host_pinned_bytes() const override { return memory_.pinned_bytes(); }
  std::string_view gpu_uuid() const override { return device_->info().uuid; }
  int64_t parameters() const override { return parameters_; }
  int64_t page_bytes() const override { return page_bytes_; }
  int64_t ActivationBytes(int tokens, int sampled) const override {
    return GpuBatch::Bytes(tokens, context_tokens_) + GpuForward::ActivationBytes(config_, dtype_ == DType::kF32 ? 4 : 2, tokens, sampled);
  }
  void SetLimits(int64_t attention_workspace_bytes) override { workspace_limit_ = attention_workspace_bytes; }
  void SetBatchInvariant(bool on) override { forward_.SetMode(on ? kernels::GemmMode::kInvariant : kernels::GemmMode::kFast); }
  absl::StatusOr<KvMemory> Reserve(int64_t pages, int step_tokens) override;
  absl::Status Step(absl::Span<const StepRow> rows, const KvMemory& memory, bool timed, absl::Span<StepOutput> outputs, StepStats* stats) override;
  bool launches() const override { return true; }
  absl::Status Launch(absl::Span<const StepRow> rows, const KvMemory& memory, bool timed) override;
  absl::Status Collect(absl::Span<StepOutput> outputs, StepStats* stats) override;
  bool followable() const override { return launched_ > 0 && batch_.host_samples().empty(); }
  void CopyPage(const KvMemory& memory, int32_t from, int32_t to) override {
    device_->CopyOnDevice(memory.base + to * page_bytes_, memory.base + from * page_bytes_, page_bytes_, stream_);
  }

 private:
  // A step that was launched.
  struct Flight {
    std::vector<StepOutput> outputs;  // [rows]: with the tokens that the host chose
    std::vector<int> sample_of_row;   // [rows]: which of the tokens chosen on the device is the row's; -1: none
    StepStats stats;
    AttentionTimer* timer = nullptr;
    int32_t* chosen = nullptr;  // pinned, [samples]
    kernels::Event done;
  };

  absl::Status Prepare(absl::Span<const StepRow> rows, const KvMemory& memory);
  absl::Status Enqueue(absl::Span<const StepRow> rows, const KvMemory& memory, AttentionTimer* timer, absl::Span<StepOutput> outputs);
  absl::Status EnqueueDecode(const KvMemory& memory, AttentionTimer* timer);
  absl::Status SampleOnHost(absl::Span<const StepRow> rows, int begin, int end, absl::Span<StepOutput> outputs);
  void FetchTokens(absl::Span<const StepRow> rows, Flight* flight);
  AttentionTimer* TimerOfStep(bool timed);
  void FillStats(StepStats* stats) const;

  const std::shared_ptr<kernels::GpuDevice> device_;
  GpuMemory memory_;
  kernels::Stream stream_;
  const ModelConfig config_;
  const int context_tokens_;
  DType dtype_ = DType::kF32;
  int64_t weights_bytes_ = 0, parameters_ = 0, page_bytes_ = 0, activations_bytes_ = 0;
  int64_t workspace_limit_ = int64_t{256} << 20;
  int capacity_ = 0;  // tokens of a step
  int timed_steps_ = 0;
  float* host_logits_ = nullptr;  // [kHostRows][vocab_size]
  Flight flights_[2];             // in turn
  uint64_t launched_ = 0, collected_ = 0;
  StepPlan plan_;
  GpuBatch batch_;
  GpuForward forward_;
  AttentionTimer timer_;
  GpuGraphs graphs_;
  std::vector<int> shape_;
};

absl::Status GpuRunner::Upload(const Gpt2Weights& weights) {
  PRECIS_ASSIGN(stream_, device_->NewStream());
  PRECIS_ASSIGN(GpuWeights uploaded, UploadWeights(weights, device_.get(), stream_, &memory_));
  dtype_ = weights.dtype;
  parameters_ = weights.parameters;
  const DType kv = uploaded.activation_type == GpuType::kF32 ? DType::kF32 : DType::kBf16;
  page_bytes_ = (2 * config_.n_layer * kernels::KvPageBytes(kv, config_.n_head, config_.head_dim()) + 63) / 64 * 64;
  const float* slopes_on_device = nullptr;
  if (config_.alibi) {
    const std::vector<float> slopes = kernels::AlibiSlopes(config_.n_head);
    PRECIS_ASSIGN(char* copy, memory_.Allocate(slopes.size() * sizeof(float), "the slopes"));
    device_->CopyToDevice(copy, slopes.data(), slopes.size() * sizeof(float), stream_);
    PRECIS_TRY(device_->Synchronize(stream_));
    slopes_on_device = reinterpret_cast<const float*>(copy);
  }
  forward_.SetWeights(std::move(uploaded), slopes_on_device);
  weights_bytes_ = memory_.bytes();
  return absl::OkStatus();
}

absl::StatusOr<KvMemory> GpuRunner::Reserve(int64_t pages, int step_tokens) {
  capacity_ = step_tokens;
  PRECIS_ASSIGN(char* base, memory_.Allocate(pages * page_bytes_, "the KV cache"));
  PRECIS_TRY(batch_.Reserve(capacity_, context_tokens_, config_.vocab_size, &memory_));
  PRECIS_TRY(forward_.Reserve(capacity_, workspace_limit_, &memory_, stream_));
  PRECIS_ASSIGN(char* logits, memory_.AllocatePinned(int64_t{kHostRows} * config_.vocab_size * 4, "logits"));
  for (Flight& flight : flights_) {
    PRECIS_ASSIGN(char* chosen, memory_.AllocatePinned(int64_t{capacity_ + GpuBatch::kLogitRows} * 4, "tokens"));
    flight.chosen = reinterpret_cast<int32_t*>(chosen);
    PRECIS_ASSIGN(flight.done, device_->NewEvent());
  }
  host_logits_ = reinterpret_cast<float*>(logits);
  activations_bytes_ = ActivationBytes(capacity_, GpuBatch::kLogitRows);
  PRECIS_TRY(device_->Synchronize(stream_));
  return KvMemory{base, pages};
}

// The rows among samples [begin, end), whose logits lie on the device, that the host chooses or wants to see.
absl::Status GpuRunner::SampleOnHost(absl::Span<const StepRow> rows, int begin, int end, absl::Span<StepOutput> outputs) {
  const int vocabulary = config_.vocab_size;
  const std::vector<int>& all = batch_.host_samples();
  auto next = std::lower_bound(all.begin(), all.end(), begin);
  const auto last = std::lower_bound(next, all.end(), end);
  while (next != last) {
    const auto stop = next + std::min<int64_t>(kHostRows, last - next);
    for (auto i = next; i != stop; ++i) {
      device_->CopyToHost(host_logits_ + (i - next) * vocabulary, forward_.logits() + int64_t{*i - begin} * vocabulary, int64_t{vocabulary} * 4, stream_);
    }
    PRECIS_TRY(device_->Synchronize(stream_));
    for (auto i = next; i != stop; ++i) {
      const int row = plan_.logit_rows[*i];
      float* logits = host_logits_ + (i - next) * vocabulary;
      if (rows[row].logits != nullptr) std::copy_n(logits, vocabulary, rows[row].logits);
      if (rows[row].sampling != nullptr) outputs[row].token = SampleToken(absl::MakeSpan(logits, vocabulary), *rows[row].sampling);
    }
    next = stop;
  }
  return absl::OkStatus();
}

absl::Status GpuRunner::EnqueueDecode(const KvMemory& memory, AttentionTimer* timer) {
  const auto work = [&]() -> absl::Status {
    PRECIS_TRY(forward_.Layers(batch_, memory, timer, stream_));
    forward_.Head(batch_, 0, batch_.samples(), stream_);
    return absl::OkStatus();
  };
  if (timer != nullptr) return work();
  shape_.clear();
  batch_.AppendShape(&shape_);
  return graphs_.Run(shape_, stream_, work);
}

absl::Status GpuRunner::Enqueue(absl::Span<const StepRow> rows, const KvMemory& memory, AttentionTimer* timer, absl::Span<StepOutput> outputs) {
  batch_.Copy(device_.get(), stream_);
  if (batch_.decode_only()) {
    PRECIS_TRY(EnqueueDecode(memory, timer));
    return SampleOnHost(rows, 0, batch_.samples(), outputs);
  }
  PRECIS_TRY(forward_.Layers(batch_, memory, timer, stream_));
  for (int begin = 0; begin < batch_.samples(); begin += GpuBatch::kLogitRows) {
    const int count = std::min(GpuBatch::kLogitRows, batch_.samples() - begin);
    forward_.Head(batch_, begin, count, stream_);
    PRECIS_TRY(SampleOnHost(rows, begin, begin + count, outputs));
  }
  return absl::OkStatus();
}

// Enqueues the copy of the chosen tokens.
void GpuRunner::FetchTokens(absl::Span<const StepRow> rows, Flight* flight) {
  const auto wanted = static_cast<int64_t>(plan_.logit_rows.size());
  device_->CopyToHost(flight->chosen, forward_.chosen(), wanted * 4, stream_);
  flight->sample_of_row.assign(rows.size(), -1);
  auto host = batch_.host_samples().begin();
  for (int i = 0; i < wanted; ++i) {
    const int row = plan_.logit_rows[i];
    if (host != batch_.host_samples().end() && *host == i) {
      ++host;
    } else if (rows[row].sampling != nullptr) {
      flight->sample_of_row[row] = i;
    }
  }
}

AttentionTimer* GpuRunner::TimerOfStep(bool timed) {
  const bool in_use = launched_ != collected_ && flights_[(launched_ + 1) % 2].timer != nullptr;
  if (!timed || in_use || (batch_.decode_only() && timed_steps_++ % kTimedDecodeInterval != 0)) return nullptr;
  timer_.Start();
  return &timer_;
}

// Lays the step out.
absl::Status GpuRunner::Prepare(absl::Span<const StepRow> rows, const KvMemory& memory) {
  PRECIS_TRY(plan_.Build(rows, {.vocab_size = config_.vocab_size, .context_tokens = context_tokens_, .pages = memory.pages,
                                .positions = config_.alibi ? Positions::kAlibi : Positions::kLearned}));
  const int64_t tokens = plan_.tokens.size();
  if (tokens > capacity_) return absl::InternalError(Cat("a step of ", tokens, " tokens, but memory was reserved for ", capacity_));
  const Flight& before = flights_[(launched_ + 1) % 2];
  for (size_t i = 0; i < rows.size(); ++i) {
    const int after = rows[i].after;
    if (after < 0) continue;
    const bool known = followable() && after < static_cast<int>(before.sample_of_row.size()) && before.sample_of_row[after] >= 0 && rows[i].tokens.size() == 1;
    if (!known) return absl::InternalError(Cat("step row ", i, " comes after row ", after, " of the step before, which left no token on the device"));
    plan_.tokens[plan_.last_token[i]] = ~before.sample_of_row[after];
  }
  if (!rows.empty()) batch_.Fill(rows, plan_);
  return absl::OkStatus();
}

absl::Status GpuRunner::Launch(absl::Span<const StepRow> rows, const KvMemory& memory, bool timed) {
  if (launched_ - collected_ > 1) return absl::InternalError("two steps are under way; collect one first");
  PRECIS_TRY(Prepare(rows, memory));
  Flight& flight = flights_[launched_ % 2];
  flight.outputs.assign(rows.size(), StepOutput());
  flight.sample_of_row.clear();
  flight.stats = StepStats();
  flight.timer = nullptr;
  if (!rows.empty()) {
    flight.timer = TimerOfStep(timed);
    PRECIS_TRY(Enqueue(rows, memory, flight.timer, absl::MakeSpan(flight.outputs)));
    FetchTokens(rows, &flight);
    FillStats(&flight.stats);
  }
  device_->Record(flight.done, stream_);
  ++launched_;
  return absl::OkStatus();
}

absl::Status GpuRunner::Collect(absl::Span<StepOutput> outputs, StepStats* stats) {
  if (launched_ == collected_) return absl::InternalError("no step is under way");
  Flight& flight = flights_[collected_++ % 2];
  if (outputs.size() < flight.outputs.size()) return absl::InternalError("a step needs an output for each row");
  PRECIS_TRY(device_->Synchronize(flight.done));
  for (size_t i = 0; i < flight.outputs.size(); ++i) {
    outputs[i] = flight.outputs[i];
    const int sample = flight.sample_of_row[i];
    if (sample >= 0) outputs[i].token = flight.chosen[sample];
  }
  if (stats == nullptr) return absl::OkStatus();
  if (flight.timer != nullptr) {
    for (VariantStats& variant : flight.stats.variants) variant.attention_time = flight.timer->Of(variant.variant);
  }
  *stats = std::move(flight.stats);
  return absl::OkStatus();
}

absl::Status GpuRunner::Step(absl::Span<const StepRow> rows, const KvMemory& memory, bool timed, absl::Span<StepOutput> outputs, StepStats* stats) {
  if (outputs.size() < rows.size()) return absl::InternalError("a step needs an output for each row");
  if (launched_ != collected_) return absl::InternalError("a step is under way; collect it first");
  PRECIS_TRY(Launch(rows, memory, timed));
  return Collect(outputs, stats);
}

void GpuRunner::FillStats(StepStats* stats) const {
  for (const StepPlan::Group& group : plan_.groups) {
    if (group.sequences.empty()) continue;
    int64_t bytes = 0;
    for (const GpuPart& part : batch_.parts()) {
      if (part.variant == group.variant) bytes = std::max(bytes, forward_.WorkspaceBytes(part));
    }
    stats->variants.push_back({group.variant, absl::ZeroDuration(), bytes});
  }
  stats->activations_bytes = activations_bytes_;
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
                                                           const std::shared_ptr<kernels::ThreadPool>& pool, std::shared_ptr<kernels::GpuDevice> device) {
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
