// The engine thread: plan, run, finish.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/engine/engine_impl.h"
#include "runtime/engine/token_outcome.h"

namespace precis::runtime {

void EngineImpl::RunEngine() {
  while (true) {
    {
      MutexLock lock(&mu_);
      while (scheduler_.idle() && !stopping_) work_.Wait(&mu_);
      if (stopping_) return;
    }
    Step();
    ReportGauges();
  }
}

void EngineImpl::Step() {
  std::vector<ExecutedRow> rows = PlanStep();
  // One step for each checkpoint that has rows. They share the token budget, so each delays the others by a bounded time.
  for (size_t begin = 0; begin < rows.size();) {
    const int pool = rows[begin].row.sequence->spec.pool;
    size_t end = begin;
    while (end < rows.size() && rows[end].row.sequence->spec.pool == pool) ++end;
    const auto group = absl::MakeSpan(rows).subspan(begin, end - begin);
    const absl::Status status = executor_->Run(pool, group, clock_);
    if (status.ok()) {
      FinishRows(group);
    } else {
      FailRows(group, status);
    }
    begin = end;
  }
}

std::vector<ExecutedRow> EngineImpl::PlanStep() {
  std::vector<ExecutedRow> rows;
  MutexLock lock(&mu_);
  const absl::Time now = clock_.Now();
  EndCutShort(scheduler_.Reap(now), now);
  const Plan plan = scheduler_.MakePlan(now);
  for (const PlannedRow& row : plan.rows) rows.push_back({row, jobs_.at(row.sequence->id).get()});
  for (const Sequence* sequence : plan.admitted) {
    if (sequence->preemptions > 0) continue;  // told when it was admitted first
    const RequestLabels labels = jobs_.at(sequence->id)->labels();
    telemetry_->OnScheduled(labels, now - sequence->submitted);
    telemetry_->OnPrefixCache(labels, sequence->prompt_tokens(), sequence->cached_tokens);
  }
  for (const Sequence* sequence : plan.preempted) {
    telemetry_->OnPreempted(jobs_.at(sequence->id)->labels());
  }
  return rows;
}

void EngineImpl::FinishRows(absl::Span<const ExecutedRow> rows) {
  const absl::Time now = clock_.Now();
  std::vector<TokenOutcome> outcomes;
  for (const ExecutedRow& row : rows) {
    outcomes.push_back(row.row.sample ? TakeToken(row, now, telemetry_) : TokenOutcome());
  }
  MutexLock lock(&mu_);
  memory_ = executor_->memory();
  for (size_t i = 0; i < rows.size(); ++i) {
    const PlannedRow& row = rows[i].row;
    scheduler_.Complete(row);
    TokenOutcome& outcome = outcomes[i];
    if (outcome.keep) scheduler_.Append(row.sequence, rows[i].token);
    if (outcome.finished.has_value()) {
      const auto sequence = scheduler_.Finish(row.sequence, now);
      End(*sequence, *outcome.finished, std::move(outcome.delta), now);
    } else if (!outcome.delta.empty() && rows[i].job->callbacks->on_text) {
      delivery_.Post({rows[i].job->callbacks, std::move(outcome.delta), std::nullopt});
    }
  }
}

void EngineImpl::FailRows(absl::Span<const ExecutedRow> rows, const absl::Status& status) {
  MutexLock lock(&mu_);
  const absl::Time now = clock_.Now();
  const absl::Status answer = absl::InternalError(absl::StrCat("A step of the model failed: ", status.message()));
  for (const ExecutedRow& row : rows) {
    const auto sequence = scheduler_.Finish(row.row.sequence, now);
    End(*sequence, answer, "", now);
  }
}

}  // namespace precis::runtime
