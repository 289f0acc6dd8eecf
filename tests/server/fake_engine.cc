#include "tests/server/fake_engine.h"

#include <utility>

#include "absl/time/clock.h"
#include "server/text.h"

namespace precis::server {
namespace {

class FakeRunner : public runtime::ModelRunner {
 public:
  explicit FakeRunner(bool alibi) {
    config_.n_layer = 2;
    config_.n_head = 2;
    config_.n_embd = 8;
    config_.n_inner = 32;
    config_.n_positions = 1024;
    config_.vocab_size = 300;
    config_.alibi = alibi;
  }
  const runtime::ModelConfig& config() const override { return config_; }
  std::string_view device() const override { return "cpu"; }
  kernels::DType weights_dtype() const override { return kernels::DType::kBf16; }
  int context_tokens() const override { return 1024; }
  int64_t weights_bytes() const override { return 4096; }
  int64_t parameters() const override { return 2048; }
  int64_t page_bytes() const override { return 1024; }
  int64_t ActivationBytes(int, int) const override { return 0; }
  void SetLimits(int64_t) override {}
  absl::Status Step(absl::Span<const runtime::StepRow>, const runtime::KvMemory&, bool, absl::Span<runtime::StepOutput>,
                    runtime::StepStats*) override {
    return absl::UnimplementedError("no model");
  }
  void CopyPage(const runtime::KvMemory&, int32_t, int32_t) override {}

 private:
  runtime::ModelConfig config_;
};

std::unique_ptr<runtime::Checkpoint> MakeCheckpoint(const std::string& name, bool alibi) {
  auto checkpoint = std::make_unique<runtime::Checkpoint>();
  checkpoint->name = name;
  checkpoint->runner = std::make_unique<FakeRunner>(alibi);
  for (const kernels::AttentionVariant& variant : kernels::AttentionVariants()) {
    if ((variant.positions == kernels::Positions::kAlibi) == alibi) checkpoint->variants.push_back(&variant);
  }
  return checkpoint;
}

std::unique_ptr<runtime::Catalog> MakeCatalog() {
  auto news = std::make_unique<runtime::Model>();
  news->name = "news";
  news->checkpoints.push_back(MakeCheckpoint("news", false));
  news->checkpoints.push_back(MakeCheckpoint("news-alibi", true));
  news->default_variant = kernels::FindAttentionVariant("flash");
  auto plain = std::make_unique<runtime::Model>();
  plain->name = "plain";
  plain->checkpoints.push_back(MakeCheckpoint("plain", false));
  plain->default_variant = kernels::FindAttentionVariant("flash");
  std::vector<std::unique_ptr<runtime::Model>> models;
  models.push_back(std::move(news));
  models.push_back(std::move(plain));
  return std::make_unique<runtime::Catalog>(std::move(models));
}

}  // namespace

FakeEngine::FakeEngine() : catalog_(MakeCatalog()), thread_([this] { Run(); }) {}

FakeEngine::~FakeEngine() {
  {
    absl::MutexLock lock(&mutex_);
    stop_ = true;
    for (auto& [id, live] : live_) live.cancelled = true;
  }
  thread_.join();
}

absl::StatusOr<runtime::RequestId> FakeEngine::Submit(runtime::Request request, runtime::RequestCallbacks callbacks) {
  absl::StatusOr<runtime::Catalog::Choice> choice = catalog_->Resolve(request.model, request.attention_backend);
  if (!choice.ok()) return choice.status();
  if (absl::Status s = runtime::ValidateGenerationOptions(request.options, 300, 1024); !s.ok()) return s;
  absl::MutexLock lock(&mutex_);
  if (draining_) return absl::UnavailableError("draining");
  if (!refuse_.ok()) return refuse_;
  if (request.document != "Warm-up.") submitted_.push_back(request);
  const runtime::RequestId id = next_id_++;
  live_.emplace(id, Live{std::move(request), std::move(callbacks)});
  return id;
}

void FakeEngine::Cancel(runtime::RequestId id) {
  absl::MutexLock lock(&mutex_);
  const auto live = live_.find(id);
  if (live == live_.end() || live->second.cancelled) return;
  live->second.cancelled = true;
  ++cancelled_;
}

void FakeEngine::Drain(absl::Duration bound) {
  const auto idle = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return live_.empty(); };
  absl::MutexLock lock(&mutex_);
  draining_ = true;
  if (mutex_.AwaitWithTimeout(absl::Condition(&idle), bound)) return;
  end_all_ = true;
  mutex_.Await(absl::Condition(&idle));
}

runtime::Engine::Load FakeEngine::load() const {
  Load load;
  load.kv_utilization = 0.25;
  load.queue_estimate = absl::Milliseconds(1500);
  absl::MutexLock lock(&mutex_);
  load.waiting[1] = static_cast<int>(live_.size());
  return load;
}

bool FakeEngine::IsDue(const Live& live, absl::Status* status) const {
  if (live.cancelled) {
    *status = absl::CancelledError("cancelled by the client");
  } else if (end_all_) {
    *status = absl::UnavailableError("the server stopped before the request was done");
  } else if (absl::Now() >= live.request.deadline) {
    *status = absl::DeadlineExceededError("the deadline passed while waiting");
  } else if (!hold_) {
    *status = fail_;
  } else {
    return false;
  }
  return true;
}

absl::StatusOr<runtime::Result> FakeEngine::Answer(const runtime::Request& request,
                                                   const std::vector<std::string>& deltas) const {
  runtime::Result result;
  for (const std::string& delta : deltas) result.summary += delta;
  result.token_ids = {1, 2, 3};
  result.model = request.model;
  result.attention_backend = request.attention_backend;
  result.checkpoint = catalog_->Resolve(request.model, request.attention_backend)->checkpoint->name;
  result.accounting.prompt_tokens = static_cast<int>(request.document.size());
  result.accounting.new_tokens = 3;
  result.accounting.prefill = absl::Milliseconds(2);
  result.accounting.energy_joules = 0.25;
  return result;
}

void FakeEngine::Run() {
  while (true) {
    std::vector<std::pair<Live, absl::Status>> due;
    std::vector<std::string> deltas;
    {
      absl::MutexLock lock(&mutex_);
      if (stop_ && live_.empty()) return;
      deltas = deltas_;
      for (auto it = live_.begin(); it != live_.end();) {
        absl::Status status;
        if (IsDue(it->second, &status)) {
          due.emplace_back(std::move(it->second), status);
          it = live_.erase(it);
        } else {
          ++it;
        }
      }
    }
    for (auto& [live, status] : due) {
      if (!status.ok()) {
        live.callbacks.on_done(status);
        continue;
      }
      for (const std::string& delta : deltas) {
        if (live.callbacks.on_text) live.callbacks.on_text(delta);
      }
      live.callbacks.on_done(Answer(live.request, deltas));
    }
    if (due.empty()) absl::SleepFor(absl::Milliseconds(1));
  }
}

void FakeEngine::Hold(bool hold) {
  absl::MutexLock lock(&mutex_);
  hold_ = hold;
}
void FakeEngine::RefuseWith(absl::Status status) {
  absl::MutexLock lock(&mutex_);
  refuse_ = std::move(status);
}
void FakeEngine::FailWith(absl::Status status) {
  absl::MutexLock lock(&mutex_);
  fail_ = std::move(status);
}
void FakeEngine::SetDeltas(std::vector<std::string> deltas) {
  absl::MutexLock lock(&mutex_);
  deltas_ = std::move(deltas);
}
int FakeEngine::live() const {
  absl::MutexLock lock(&mutex_);
  return static_cast<int>(live_.size());
}
int FakeEngine::cancelled() const {
  absl::MutexLock lock(&mutex_);
  return cancelled_;
}
std::vector<runtime::Request> FakeEngine::submitted() const {
  absl::MutexLock lock(&mutex_);
  return submitted_;
}

void FakeMetrics::OnRpcFinished(const runtime::RequestLabels& labels, std::string_view grpc_code,
                                std::string_view finish_reason, absl::Duration duration) {
  Add(StrCat("rpc ", labels.model, " ", labels.attention_backend, " ", labels.experiment, "/", labels.arm, " ",
             grpc_code));
}
void FakeMetrics::OnRefused(const runtime::RequestLabels& labels, std::string_view reason) {
  Add(StrCat("refused ", reason));
}
void FakeMetrics::OnRejected(const runtime::RequestLabels& labels, runtime::RejectReason reason) {
  Add(StrCat("rejected ", runtime::RejectReasonName(reason)));
}
void FakeMetrics::OnAssignment(std::string_view experiment, std::string_view arm, std::string_view reason) {
  Add(StrCat("assigned ", experiment, "/", arm, " ", reason));
}
void FakeMetrics::SetReady(bool ready) { Add(StrCat("ready ", ready ? "on" : "off")); }
void FakeMetrics::SetDraining(bool draining) { Add(StrCat("draining ", draining ? "on" : "off")); }

int FakeMetrics::Count(const std::string& line) const {
  absl::MutexLock lock(&mutex_);
  const auto entry = lines_.find(line);
  return entry == lines_.end() ? 0 : entry->second;
}

std::string FakeMetrics::All() const {
  absl::MutexLock lock(&mutex_);
  std::string all;
  for (const auto& [line, count] : lines_) StrAppend(&all, line, " x", count, "\n");
  return all;
}

void FakeMetrics::Add(std::string line) {
  absl::MutexLock lock(&mutex_);
  ++lines_[std::move(line)];
}

}  // namespace precis::server
