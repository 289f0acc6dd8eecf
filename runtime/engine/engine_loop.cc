// The engine thread: plan, run, finish. Where a device takes steps without waiting, and nothing but every sequence's next token is to be planned, the next step
// is launched before the one before has ended, and the host's work is done while it runs.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/engine/engine_impl.h"
#include "runtime/engine/token_outcome.h"

namespace precis::runtime {
namespace {

// The rows of each sequence, which stand together.
std::vector<absl::Span<const ExecutedRow>> ByRequest(absl::Span<const ExecutedRow> rows) {
  std::vector<absl::Span<const ExecutedRow>> requests;
  for (size_t begin = 0, end = 0; begin < rows.size(); begin = end) {
    while (end < rows.size() && rows[end].row.sequence == rows[begin].row.sequence) ++end;
    requests.push_back(rows.subspan(begin, end - begin));
  }
  return requests;
}

// Whether its next choice needs no more of the tokens before than their number.
bool NeedsNoHistory(const Job& job) {
  return !job.beams.has_value() && job.options.no_repeat_ngram_size == 0 && job.options.repetition_penalty == 1;
}

}  // namespace

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
  std::vector<PageCopy> copies;
  std::vector<ExecutedRow> rows = PlanStep(&copies);
  executor_->Copy(copies);
  // One step for each checkpoint that has rows. They share the token budget, so each delays the others by a bounded time.
  for (size_t begin = 0; begin < rows.size();) {
    const int pool = rows[begin].row.sequence->spec.pool;
    size_t end = begin;
    while (end < rows.size() && rows[end].row.sequence->spec.pool == pool) ++end;
    if (end - begin == rows.size() && executor_->launches(pool)) return RunAhead(pool, std::move(rows));
    RunStep(pool, absl::MakeSpan(rows).subspan(begin, end - begin));
    begin = end;
  }
}

void EngineImpl::RunStep(int pool, absl::Span<ExecutedRow> rows) {
  const absl::Status status = executor_->Run(pool, rows, clock_);
  status.ok() ? FinishRows(rows) : FailRows(rows, status);
}

// Runs the rows, and then steps that follow without a plan of their own. One step at most runs ahead of what is known, and none when this returns.
void EngineImpl::RunAhead(int pool, std::vector<ExecutedRow> rows) {
  const absl::Status first = executor_->Launch(pool, absl::MakeSpan(rows), clock_);
  if (!first.ok()) return FailRows(rows, first);
  while (true) {
    std::vector<ExecutedRow> next = PlanAhead(pool, rows);
    std::vector<SequenceId> ids;
    ids.reserve(next.size());
    for (const ExecutedRow& row : next) ids.push_back(row.row.sequence->id);
    const absl::Status launched = next.empty() ? absl::OkStatus() : executor_->Launch(pool, absl::MakeSpan(next), clock_);
    const absl::Status status = executor_->Collect(pool, &rows, clock_);
    status.ok() ? FinishRows(rows) : FailRows(rows, status);
    DropEnded(absl::MakeSpan(next), ids);
    if (!launched.ok()) {
      next.erase(std::remove_if(next.begin(), next.end(), [](const ExecutedRow& row) { return row.job == nullptr; }), next.end());
      return FailRows(next, launched);
    }
    if (next.empty()) return;
    rows = std::move(next);
    ReportGauges();
  }
}

std::vector<ExecutedRow> EngineImpl::PlanAhead(int pool, absl::Span<const ExecutedRow> rows) {
  std::vector<ExecutedRow> next;
  if (!executor_->followable(pool)) return next;
  std::vector<PlannedRow> live;
  std::vector<int> places;  // of the live rows in the step under way
  for (size_t i = 0; i < rows.size(); ++i) {
    if (rows[i].job == nullptr) continue;
    if (!NeedsNoHistory(*rows[i].job)) return next;
    live.push_back(rows[i].row);
    places.push_back(static_cast<int>(i));
  }
  std::vector<int> after;
  MutexLock lock(&mu_);
  for (const PlannedRow& row : scheduler_.PlanAhead(live, clock_.Now(), &after)) {
    const int place = places[after[next.size()]];
    next.push_back({row, rows[place].job, place});
  }
  return next;
}

// Rows of the step under way whose sequences the step before ended.
void EngineImpl::DropEnded(absl::Span<ExecutedRow> rows, absl::Span<const SequenceId> ids) {
  MutexLock lock(&mu_);
  for (size_t i = 0; i < rows.size(); ++i) {
    if (jobs_.contains(ids[i])) continue;
    rows[i].row.sequence = nullptr;
    rows[i].job = nullptr;
  }
}

std::vector<ExecutedRow> EngineImpl::PlanStep(std::vector<PageCopy>* copies) {
  std::vector<ExecutedRow> rows;
  MutexLock lock(&mu_);
  const absl::Time now = clock_.Now();
  EndCutShort(scheduler_.Reap(now), now);
  Plan plan = scheduler_.MakePlan(now);
  *copies = std::move(plan.copies);
  rows.reserve(plan.rows.size());
  for (const PlannedRow& row : plan.rows) rows.push_back({row, jobs_.at(row.sequence->id).get()});
  for (const Sequence* sequence : plan.admitted) {
    if (sequence->preemptions > 0) continue;  // told when it was admitted first
    const Job& job = *jobs_.at(sequence->id);
    const RequestLabels labels = job.labels();
    TelemetryOf(job)->OnScheduled(labels, now - sequence->submitted);
    TelemetryOf(job)->OnPrefixCache(labels, sequence->prompt_tokens(), sequence->cached_tokens);
  }
  for (const Sequence* sequence : plan.preempted) {
    telemetry_->OnPreempted(jobs_.at(sequence->id)->labels());
  }
  return rows;
}

void EngineImpl::FinishRows(absl::Span<const ExecutedRow> rows) {
  const absl::Time now = clock_.Now();
  const std::vector<absl::Span<const ExecutedRow>> requests = ByRequest(rows);
  std::vector<TokenOutcome> outcomes;
  for (const auto& request : requests) {
    const bool sample = request.front().row.sample;
    outcomes.push_back(!sample                                        ? TokenOutcome()
                       : request.front().job->beams.has_value() ? TakeBeams(request, now, TelemetryOf(*request.front().job))
                                                                : TakeToken(request.front(), now, TelemetryOf(*request.front().job)));
  }
  MutexLock lock(&mu_);
  memory_ = executor_->memory();
  for (size_t i = 0; i < requests.size(); ++i) FinishRequestRows(requests[i], std::move(outcomes[i]), now);
}

void EngineImpl::FinishRequestRows(absl::Span<const ExecutedRow> rows, TokenOutcome outcome, absl::Time now) {
  const PlannedRow& row = rows.front().row;
  const Job& job = *rows.front().job;
  for (const ExecutedRow& executed : rows) scheduler_.Complete(executed.row);
  if (outcome.keep) scheduler_.Append(row.sequence, rows.front().token);
  if (outcome.finished.has_value()) {
    const auto sequence = scheduler_.Finish(row.sequence, now);
    if (job.beams.has_value()) sequence->generated = job.beams->summary();
    End(*sequence, *outcome.finished, std::move(outcome.delta), now);
  } else if (row.sample && job.beams.has_value()) {
    scheduler_.Advance(row.sequence, job.beams->next(), now);
  } else if (!outcome.delta.empty() && job.callbacks->on_text) {
    delivery_.Post({job.callbacks, std::move(outcome.delta), std::nullopt});
  }
}

void EngineImpl::FailRows(absl::Span<const ExecutedRow> rows, const absl::Status& status) {
  MutexLock lock(&mu_);
  const absl::Time now = clock_.Now();
  const absl::Status answer = absl::InternalError(absl::StrCat("A step of the model failed: ", status.message()));
  for (const auto& request : ByRequest(rows)) {
    const auto sequence = scheduler_.Finish(request.front().row.sequence, now);
    End(*sequence, answer, "", now);
  }
}

}  // namespace precis::runtime
