// Creation and destruction of the engine.
#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/engine/engine_impl.h"

namespace precis::runtime {
namespace {

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
  for (Checkpoint* checkpoint : catalog_->all_checkpoints()) checkpoint->runner->SetBatchInvariant(options_.batch_invariant);
  auto executor = StepExecutor::Create(*catalog_, pages, options_.attention_workspace_bytes, options_.max_step_tokens,
                                       telemetry_);
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
  }
  EndAll(absl::CancelledError("The engine was stopped."));
  {
    MutexLock lock(&mu_);
    stopping_ = true;
    work_.SignalAll();
    timer_.SignalAll();
  }
  engine_thread_.join();
  timer_thread_.join();
}

}  // namespace precis::runtime
