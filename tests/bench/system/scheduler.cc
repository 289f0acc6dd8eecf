#include <benchmark/benchmark.h>

#include <memory>
#include <vector>

#include "runtime/cache/kv_cache.h"
#include "runtime/scheduler/scheduler.h"
#include "tests/bench/system/system_bench.h"

namespace precis::bench {
namespace {

using runtime::SequenceSpec;

constexpr int kPromptTokens = 256, kNewTokens = 64, kBatchRows = 64;

// The scheduler in a steady state: `waiting` requests wait whatever happens, since each that ends is followed by a new one.
class SteadyState {
 public:
  explicit SteadyState(int waiting) : cache_({kPageBytes}, {.budget_bytes = 4 * kBatchRows * runtime::PagesFor(kPromptTokens + kNewTokens) * kPageBytes}) {
    runtime::SchedulerOptions options;
    options.max_batch_rows = kBatchRows;
    options.max_queued_requests = waiting + kBatchRows + 1;
    options.max_queued_tokens = int64_t{options.max_queued_requests} * kPromptTokens;
    scheduler_ = std::make_unique<runtime::Scheduler>(options, &cache_);
    for (int i = 0; i < waiting + kBatchRows; ++i) Arrive();
    while (scheduler_->running() < kBatchRows || scheduler_->waiting() > waiting) Step();
  }

  // What the engine asks of it around one step of the models. Returns the rows of the step.
  int64_t Step() {
    now_ += absl::Milliseconds(10);
    scheduler_->Reap(now_);
    const runtime::Plan plan = scheduler_->MakePlan(now_);
    for (const runtime::PlannedRow& row : plan.rows) {
      scheduler_->Complete(row);
      if (!row.sample) continue;
      scheduler_->Append(row.sequence, 7);
      if (row.sequence->generated.size() < kNewTokens) continue;
      scheduler_->Finish(row.sequence, now_);
      Arrive();
    }
    return static_cast<int64_t>(plan.rows.size());
  }
  int waiting() const { return scheduler_->waiting(); }

 private:
  static constexpr int64_t kPageBytes = 4096;

  void Arrive() {
    SequenceSpec spec;
    spec.prompt.assign(kPromptTokens, static_cast<int32_t>(++arrived_ % 50000));  // no prefix in common
    spec.max_new_tokens = kNewTokens;
    spec.priority = static_cast<runtime::Priority>(arrived_ % runtime::kPriorities);
    spec.deadline = now_ + absl::Hours(1);
    runtime::RejectReason reason;
    Must(scheduler_->Enqueue(std::move(spec), now_, &reason));
  }

  runtime::KvCache cache_;
  std::unique_ptr<runtime::Scheduler> scheduler_;
  absl::Time now_ = absl::UnixEpoch();
  int64_t arrived_ = 0;
};

void Steps(benchmark::State& state) {
  SteadyState world(static_cast<int>(state.range(0)));
  int64_t rows = 0;
  for (auto _ : state) rows += world.Step();
  state.counters["rows"] = static_cast<double>(rows) / static_cast<double>(state.iterations());
  state.counters["waiting"] = world.waiting();
}

}  // namespace

void RegisterScheduler() {
  benchmark::RegisterBenchmark("Scheduler/step", Steps)->ArgName("queued")->Arg(0)->Arg(1000)->Unit(benchmark::kMicrosecond);
}

}  // namespace precis::bench
