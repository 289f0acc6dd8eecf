#include "runtime/engine/engine_impl.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/engine/prompt.h"

namespace precis::runtime {
namespace {

constexpr absl::Duration kGaugeInterval = absl::Milliseconds(20);

Telemetry* Silent() {
  static Telemetry* const silent = new Telemetry();
  return silent;
}

std::vector<int64_t> PageBytes(const Catalog& catalog) {
  std::vector<int64_t> bytes;
  for (const Checkpoint* checkpoint : catalog.all_checkpoints()) bytes.push_back(checkpoint->runner->page_bytes());
  return bytes;
}

SchedulerOptions SchedulerOptionsOf(const EngineOptions& options) {
  SchedulerOptions result;
  result.max_batch_rows = options.max_batch_rows;
  result.max_step_tokens = options.max_step_tokens;
  result.max_queued_requests = options.max_queued_requests;
  result.max_queued_tokens = options.max_queued_tokens;
  result.priority_aging = options.priority_aging;
  return result;
}

int VariantIndex(const kernels::AttentionVariant* variant, const Checkpoint& checkpoint) {
  const auto& variants = checkpoint.variants;
  return static_cast<int>(std::find(variants.begin(), variants.end(), variant) - variants.begin());
}

absl::Status Validate(const Catalog& catalog, const EngineOptions& options) {
  if (catalog.all_checkpoints().empty()) return absl::InvalidArgumentError("The catalog has no model.");
  if (options.max_batch_rows < 1 || options.max_step_tokens < 1 || options.max_queued_requests < 1 ||
      options.max_queued_tokens < 1 || options.priority_aging <= absl::ZeroDuration()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "max_batch_rows (", options.max_batch_rows, "), max_step_tokens (", options.max_step_tokens,
        "), max_queued_requests (", options.max_queued_requests, "), max_queued_tokens (",
        options.max_queued_tokens, ") and priority_aging (", absl::FormatDuration(options.priority_aging),
        ") must be positive."));
  }
  for (const Checkpoint* checkpoint : catalog.all_checkpoints()) {
    const int64_t page = checkpoint->runner->page_bytes();
    if (options.kv_cache_bytes < page) {
      return absl::InvalidArgumentError(absl::StrCat(
          "kv_cache_bytes is ", options.kv_cache_bytes, "; checkpoint ", checkpoint->name, " needs at least ",
          page, ", one block of ", kernels::kPageTokens, " tokens, and ",
          page * PagesFor(checkpoint->runner->context_tokens()), " for a request that fills its context."));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Engine>> EngineImpl::Create(std::unique_ptr<Catalog> catalog,
                                                           const EngineOptions& options, Telemetry* telemetry) {
  absl::Status status = Validate(*catalog, options);
  if (!status.ok()) return status;
  auto engine = std::unique_ptr<EngineImpl>(new EngineImpl(std::move(catalog), options, telemetry));
  status = engine->Start();
  if (!status.ok()) return status;
  return engine;
}

EngineImpl::EngineImpl(std::unique_ptr<Catalog> catalog, const EngineOptions& options, Telemetry* telemetry)
    : catalog_(std::move(catalog)),
      options_(options),
      telemetry_(telemetry == nullptr ? Silent() : telemetry),
      cache_(PageBytes(*catalog_),
             {options.kv_cache_bytes, options.prefix_cache,
              [this](int pool, int32_t page) { executor_->Discard(pool, page); }}),
      scheduler_(SchedulerOptionsOf(options), &cache_) {}

absl::Status EngineImpl::Start() {
  std::vector<int64_t> pages;
  {
    MutexLock lock(&mu_);
    for (int i = 0; i < cache_.pools(); ++i) pages.push_back(cache_.pages(i));
  }
  auto executor = StepExecutor::Create(*catalog_, pages, options_.attention_workspace_bytes, telemetry_);
  if (!executor.ok()) return executor.status();
  executor_ = *std::move(executor);
  engine_thread_ = std::thread([this] { RunEngine(); });
  timer_thread_ = std::thread([this] { RunTimer(); });
  return absl::OkStatus();
}

EngineImpl::~EngineImpl() {
  if (!engine_thread_.joinable()) return;
  {
    MutexLock lock(&mu_);
    draining_ = true;
    EndAll(absl::CancelledError("The engine was stopped."));
    while (!jobs_.empty()) done_.Wait(&mu_);
    stopping_ = true;
    work_.SignalAll();
    timer_.SignalAll();
  }
  engine_thread_.join();
  timer_thread_.join();
}

absl::Status EngineImpl::Refuse(const RequestLabels& labels, RejectReason reason, absl::Status status) {
  telemetry_->OnRejected(labels, reason);
  return status;
}

absl::Status EngineImpl::CheckAcceptable(const Catalog::Choice& choice, absl::Time deadline,
                                         RejectReason* reason) {
  MutexLock lock(&mu_);
  if (draining_) {
    *reason = RejectReason::kDraining;
    return absl::UnavailableError("The server is shutting down and takes no new requests; send it to another one.");
  }
  if (deadline <= clock_.Now()) {
    *reason = RejectReason::kDeadline;
    return absl::DeadlineExceededError("The deadline had passed when the request came; give a later one.");
  }
  return scheduler_.CheckBounds(choice.checkpoint_index, 1, 0, reason);
}

absl::StatusOr<RequestId> EngineImpl::Submit(Request request, RequestCallbacks callbacks) {
  const auto choice = catalog_->Resolve(request.model, request.attention_backend);
  if (!choice.ok()) return choice.status();
  const Checkpoint& checkpoint = *choice->checkpoint;
  absl::Status status = ValidateGenerationOptions(request.options, checkpoint.runner->config().vocab_size,
                                                  checkpoint.runner->context_tokens());
  if (!status.ok()) return status;
  auto job = std::make_unique<Job>(*choice, std::move(request.options), std::move(request.labels),
                                   std::move(callbacks));
  request.options = job->options;
  const absl::Time deadline = clock_.FromWall(request.deadline);
  RejectReason reason;
  // Before the work of tokenising, and again after it.
  status = CheckAcceptable(*choice, deadline, &reason);
  if (!status.ok()) return Refuse(job->labels(), reason, status);
  auto prompt = BuildPrompt(checkpoint, request);
  if (!prompt.ok()) return prompt.status();
  job->truncated_tokens = prompt->truncated_tokens;
  status = CheckAcceptable(*choice, deadline, &reason);
  if (!status.ok()) return Refuse(job->labels(), reason, status);

  SequenceSpec spec;
  spec.pool = choice->checkpoint_index;
  spec.variant = VariantIndex(choice->variant, checkpoint);
  spec.prompt = std::move(prompt->tokens);
  spec.max_new_tokens = job->options.max_new_tokens;
  spec.priority = request.priority;
  spec.deadline = deadline;
  return Enqueue(std::move(spec), std::move(job));
}

absl::StatusOr<RequestId> EngineImpl::Enqueue(SequenceSpec spec, std::unique_ptr<Job> job) {
  RejectReason reason;
  absl::Status refused;
  {
    MutexLock lock(&mu_);
    const absl::Time deadline = spec.deadline;
    const absl::Time next_deadline = scheduler_.next_queue_deadline();
    if (draining_) {
      reason = RejectReason::kDraining;
      refused = absl::UnavailableError("The server is shutting down and takes no new requests.");
    } else {
      auto sequence = scheduler_.Enqueue(std::move(spec), clock_.Now(), &reason);
      if (sequence.ok()) {
        jobs_.emplace((*sequence)->id, std::move(job));
        work_.Signal();
        if (deadline < next_deadline || !gauges_changed_) timer_.Signal();
        gauges_changed_ = true;
        return (*sequence)->id;
      }
      refused = sequence.status();
    }
  }
  return Refuse(job->labels(), reason, refused);
}

void EngineImpl::Cancel(RequestId id) {
  MutexLock lock(&mu_);
  const absl::Time now = clock_.Now();
  auto sequence = scheduler_.Cancel(id, now);
  if (sequence == nullptr) return;
  Ended ended;
  ended.push_back(std::move(sequence));
  EndCutShort(std::move(ended), now);
}

void EngineImpl::Drain(absl::Duration bound) {
  const absl::Time end = clock_.Now() + bound;
  {
    MutexLock lock(&mu_);
    draining_ = true;
    while (!jobs_.empty()) {
      const absl::Duration left = end - clock_.Now();
      if (left <= absl::ZeroDuration()) break;
      done_.WaitFor(&mu_, left);
    }
    EndAll(absl::UnavailableError("The server is shutting down and could not finish the request in time; send it "
                                  "to another one."));
    while (!jobs_.empty()) done_.Wait(&mu_);
  }
  delivery_.Flush();
}

void EngineImpl::EndAll(const absl::Status& status) {
  const absl::Time now = clock_.Now();
  std::vector<SequenceId> ids;
  for (auto& [id, job] : jobs_) {
    ids.push_back(id);
    job->abort = status;
  }
  Ended ended;
  for (SequenceId id : ids) {
    if (auto sequence = scheduler_.Cancel(id, now)) ended.push_back(std::move(sequence));
  }
  EndCutShort(std::move(ended), now);
}

void EngineImpl::EndCutShort(Ended ended, absl::Time now) {
  for (const auto& sequence : ended) {
    const Job& job = *jobs_.at(sequence->id);
    const absl::Status status = CutShortStatus(job, *sequence, now);
    const bool queued = sequence->admitted == absl::InfiniteFuture();
    if (queued && absl::IsDeadlineExceeded(status)) telemetry_->OnRejected(job.labels(), RejectReason::kDeadline);
    const absl::Time asked = std::min(sequence->cancelled, sequence->spec.deadline);
    telemetry_->OnCancelled(job.labels(), StageOf(job, *sequence), now - asked);
    End(*sequence, status, "", now);
  }
  if (!ended.empty() && !gauges_changed_) {
    gauges_changed_ = true;
    timer_.Signal();
  }
}

void EngineImpl::End(const Sequence& sequence, absl::StatusOr<FinishReason> reason, std::string delta,
                     absl::Time now) {
  const auto node = jobs_.extract(sequence.id);
  const Job& job = *node.mapped();
  const Accounting accounting = AccountingOf(job, sequence, cache_.page_bytes(sequence.spec.pool), now);
  telemetry_->OnFinished(job.labels(), reason.status(), reason.ok() ? FinishReasonName(*reason) : "", accounting);
  absl::StatusOr<Result> result = reason.ok()
                                      ? absl::StatusOr<Result>(ResultOf(job, sequence, *reason, accounting))
                                      : absl::StatusOr<Result>(reason.status());
  delivery_.Post({job.callbacks, std::move(delta), std::move(result)});
  rate_.OnFinished(now, !jobs_.empty());
  if (jobs_.empty()) done_.SignalAll();
}

void EngineImpl::RunTimer() {
  absl::Time last_gauges = absl::InfinitePast();
  mu_.Lock();
  while (!stopping_) {
    const absl::Time now = clock_.Now();
    EndCutShort(scheduler_.ExpireQueued(now), now);
    if (gauges_changed_ && now - last_gauges >= kGaugeInterval) {
      last_gauges = now;
      mu_.Unlock();
      ReportGauges();
      mu_.Lock();
      continue;
    }
    absl::Time next = scheduler_.next_queue_deadline();
    if (gauges_changed_) next = std::min(next, last_gauges + kGaugeInterval);
    timer_.WaitFor(&mu_, next - now);
  }
  mu_.Unlock();
}

void EngineImpl::ReportGauges() {
  MutexLock order(&gauges_mu_);
  GaugeSnapshot snapshot;
  std::vector<GaugeSnapshot::Share> shares;
  {
    MutexLock lock(&mu_);
    gauges_changed_ = false;
    snapshot = Gauges();
    shares = Shares();
  }
  snapshot.shares = shares.data();
  snapshot.share_count = static_cast<int>(shares.size());
  telemetry_->OnGauges(snapshot);
}

GaugeSnapshot EngineImpl::Gauges() const {
  const Load load = LoadLocked();
  GaugeSnapshot snapshot;
  snapshot.running = load.running;
  std::copy(std::begin(load.waiting), std::end(load.waiting), std::begin(snapshot.waiting));
  snapshot.kv_blocks_used = load.kv_blocks_used;
  snapshot.kv_blocks_total = load.kv_blocks_total;
  snapshot.kv_bytes_used = cache_.live_bytes();
  snapshot.kv_bytes_peak = cache_.live_peak_bytes();
  for (const Checkpoint* checkpoint : catalog_->all_checkpoints()) {
    snapshot.weights_bytes += checkpoint->runner->weights_bytes();
  }
  snapshot.activations_bytes = memory_.activations_bytes;
  snapshot.activations_bytes_peak = memory_.activations_bytes_peak;
  snapshot.attention_workspace_bytes = memory_.workspace_bytes;
  snapshot.attention_workspace_bytes_peak = memory_.workspace_bytes_peak;
  return snapshot;
}

// One for each model and backend that has requests.
std::vector<GaugeSnapshot::Share> EngineImpl::Shares() const {
  std::vector<GaugeSnapshot::Share> shares;
  const auto share_of = [&](const Sequence& sequence) -> GaugeSnapshot::Share& {
    const Catalog::Choice& choice = jobs_.at(sequence.id)->choice;
    for (GaugeSnapshot::Share& share : shares) {
      if (share.model == choice.model->name && share.attention_backend == choice.variant->name) return share;
    }
    shares.push_back({choice.model->name, choice.variant->name});
    return shares.back();
  };
  for (const Sequence* sequence : scheduler_.running_sequences()) {
    GaugeSnapshot::Share& share = share_of(*sequence);
    ++share.running;
    share.kv_bytes += static_cast<int64_t>(sequence->pages.size()) * cache_.page_bytes(sequence->spec.pool);
  }
  for (int priority = 0; priority < kPriorities; ++priority) {
    for (const auto& [id, sequence] : scheduler_.wait_queue().classes()[priority]) {
      ++share_of(*sequence).waiting[priority];
    }
  }
  return shares;
}

Engine::Load EngineImpl::load() const {
  MutexLock lock(&mu_);
  return LoadLocked();
}

Engine::Load EngineImpl::LoadLocked() const {
  Load load;
  load.running = scheduler_.running();
  for (int i = 0; i < kPriorities; ++i) load.waiting[i] = scheduler_.waiting(static_cast<Priority>(i));
  load.waiting_tokens = scheduler_.waiting_tokens();
  int64_t block = 1;  // of the checkpoint with the largest ones
  for (int i = 0; i < cache_.pools(); ++i) block = std::max(block, cache_.page_bytes(i));
  load.kv_blocks_total = options_.kv_cache_bytes / block;
  load.kv_blocks_used = std::min((cache_.live_bytes() + block - 1) / block, load.kv_blocks_total);
  load.kv_utilization =
      static_cast<double>(cache_.live_bytes()) / static_cast<double>(options_.kv_cache_bytes);
  load.queue_estimate = rate_.Estimate(scheduler_.waiting());
  return load;
}

}  // namespace precis::runtime
