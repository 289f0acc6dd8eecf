#include "runtime/engine/step_executor.h"

#include <algorithm>

namespace precis::runtime {
namespace {

// Attention is timed in one step of so many.
constexpr int kTimedStepInterval = 8;

absl::Span<const int32_t> TokensOf(const PlannedRow& row, bool ahead) {
  static constexpr int32_t kAny[1] = {0};
  if (ahead) return kAny;
  const Sequence& sequence = *row.sequence;
  const int prompt = sequence.prompt_tokens();
  // A row never crosses the end of the prompt.
  if (row.position < prompt) return absl::MakeConstSpan(sequence.spec.prompt).subspan(row.position, row.count);
  return absl::MakeConstSpan(sequence.branch(row.branch).generated).subspan(row.position - prompt, row.count);
}

Phase PhaseOf(const PlannedRow& row) {
  return row.position < row.sequence->prompt_tokens() ? Phase::kPrefill : Phase::kDecode;
}

}  // namespace

absl::StatusOr<std::unique_ptr<StepExecutor>> StepExecutor::Create(const Catalog& catalog,
                                                                   const std::vector<int64_t>& pages,
                                                                   int64_t attention_workspace_bytes, int step_tokens,
                                                                   Telemetry* telemetry) {
  auto executor = std::unique_ptr<StepExecutor>(new StepExecutor(catalog, telemetry));
  const auto checkpoints = catalog.all_checkpoints();
  for (size_t i = 0; i < checkpoints.size(); ++i) {
    ModelRunner& runner = *checkpoints[i]->runner;
    runner.SetLimits(attention_workspace_bytes);
    const absl::StatusOr<KvMemory> own = runner.Reserve(pages[i], step_tokens);
    if (!own.ok()) return own.status();
    if (own->base != nullptr) {
      executor->arenas_.push_back(nullptr);
      executor->memories_.push_back(*own);
      continue;
    }
    // Pools that share a budget must not hold memory in larger pieces than pages.
    auto arena = KvArena::Create(pages[i], runner.page_bytes(), /*huge_pages=*/checkpoints.size() == 1);
    if (!arena.ok()) return arena.status();
    executor->memories_.push_back({(*arena)->base(), (*arena)->pages()});
    executor->arenas_.push_back(*std::move(arena));
  }
  return executor;
}

void StepExecutor::Copy(absl::Span<const PageCopy> copies) {
  for (const PageCopy& copy : copies) {
    catalog_.all_checkpoints()[copy.pool]->runner->CopyPage(memories_[copy.pool], copy.from, copy.to);
  }
}

bool StepExecutor::NextIsTimed() { return steps_++ % kTimedStepInterval == 0; }

absl::Status StepExecutor::Run(int pool, absl::Span<ExecutedRow> rows, const EngineClock& clock) {
  BuildRows(pool, rows);
  const bool timed = NextIsTimed();
  const absl::Time start = clock.Now();
  stats_.variants.clear();
  outputs_.assign(rows.size(), StepOutput());
  absl::Status status = runner(pool).Step(step_rows_, memories_[pool], timed, absl::MakeSpan(outputs_), &stats_);
  if (!status.ok()) return status;
  for (size_t i = 0; i < rows.size(); ++i) rows[i].token = outputs_[i].token;
  Finish(rows, clock.Now() - start, timed);
  return absl::OkStatus();
}

absl::Status StepExecutor::Launch(int pool, absl::Span<ExecutedRow> rows, const EngineClock& clock) {
  BuildRows(pool, rows);
  const Flight flight = {NextIsTimed(), clock.Now()};
  absl::Status status = runner(pool).Launch(step_rows_, memories_[pool], flight.timed);
  if (status.ok()) flights_.push_back(flight);
  return status;
}

absl::Status StepExecutor::Collect(int pool, std::vector<ExecutedRow>* rows, const EngineClock& clock) {
  const Flight flight = flights_.front();
  flights_.pop_front();
  stats_.variants.clear();
  outputs_.assign(rows->size(), StepOutput());
  absl::Status status = runner(pool).Collect(absl::MakeSpan(outputs_), &stats_);
  for (size_t i = 0; i < rows->size(); ++i) (*rows)[i].token = outputs_[i].token;
  rows->erase(std::remove_if(rows->begin(), rows->end(), [](const ExecutedRow& row) { return row.job == nullptr; }), rows->end());
  // It ran from the end of the step before on.
  const absl::Time begin = std::max(flight.begin, collected_);
  collected_ = clock.Now();
  if (status.ok() && !rows->empty()) Finish(absl::MakeSpan(*rows), collected_ - begin, flight.timed);
  return status;
}

void StepExecutor::Finish(absl::Span<ExecutedRow> rows, absl::Duration duration, bool timed) {
  Account(rows);
  AccountEnergy(rows, duration);
  if (telemetry_ != nullptr) Report(rows, duration, timed);
}

void StepExecutor::BuildRows(int pool, absl::Span<ExecutedRow> rows) {
  const Checkpoint& checkpoint = *catalog_.all_checkpoints()[pool];
  step_rows_.assign(rows.size(), StepRow());
  contexts_.assign(rows.size(), SamplingContext());
  for (size_t i = 0; i < rows.size(); ++i) {
    const PlannedRow& row = rows[i].row;
    StepRow& step_row = step_rows_[i];
    step_row.after = rows[i].after;
    step_row.tokens = TokensOf(row, step_row.after >= 0);
    step_row.position = row.position;
    step_row.block_table = row.sequence->branch(row.branch).pages.data();
    step_row.variant = rows[i].job->choice.variant;
    const bool beams = rows[i].job->beams.has_value();
    step_row.replay = row.replay || (beams && PhaseOf(row) == Phase::kDecode);
    if (!row.sample || beams) continue;
    contexts_[i] = {&rows[i].job->options, row.sequence->spec.prompt, row.sequence->generated,
                    EndOfText(checkpoint), rows[i].after >= 0 ? 1 : 0};
    step_row.sampling = &contexts_[i];
  }
  GiveLogits(checkpoint.runner->config().vocab_size, rows);
}

// Room for the logits of the beams that choose their next tokens.
void StepExecutor::GiveLogits(int vocabulary, absl::Span<ExecutedRow> rows) {
  const auto wants = [](const ExecutedRow& row) { return row.row.sample && row.job->beams.has_value(); };
  logits_.resize(std::count_if(rows.begin(), rows.end(), wants) * static_cast<size_t>(vocabulary));
  float* next = logits_.data();
  for (size_t i = 0; i < rows.size(); ++i) {
    if (!wants(rows[i])) continue;
    step_rows_[i].logits = next;
    rows[i].logits = absl::MakeSpan(next, vocabulary);
    next += vocabulary;
  }
}

void StepExecutor::Account(absl::Span<ExecutedRow> rows) {
  memory_.activations_bytes = stats_.activations_bytes + static_cast<int64_t>(logits_.size() * sizeof(float));
  memory_.activations_bytes_peak = std::max(memory_.activations_bytes_peak, memory_.activations_bytes);
  memory_.workspace_bytes = 0;
  for (const VariantStats& stats : stats_.variants) {
    memory_.workspace_bytes = std::max(memory_.workspace_bytes, stats.workspace_bytes);
    for (ExecutedRow& row : rows) {
      if (row.job->choice.variant != stats.variant) continue;
      row.job->workspace_peak_bytes = std::max(row.job->workspace_peak_bytes, stats.workspace_bytes);
    }
  }
  memory_.workspace_bytes_peak = std::max(memory_.workspace_bytes_peak, memory_.workspace_bytes);
}

// An estimate: the step's energy is shared out by tokens, though a token of prefill reads less memory than one of decode.
void StepExecutor::AccountEnergy(absl::Span<ExecutedRow> rows, absl::Duration duration) {
  const double watts = power_watts_;
  if (watts < 0) return;
  int64_t tokens = 0;
  for (const ExecutedRow& row : rows) tokens += row.row.count;
  const double joules_per_token = watts * absl::ToDoubleSeconds(duration) / static_cast<double>(std::max<int64_t>(1, tokens));
  for (ExecutedRow& row : rows) row.job->energy_joules = row.job->energy_joules.value_or(0) + joules_per_token * row.row.count;
}

void StepExecutor::Report(absl::Span<const ExecutedRow> rows, absl::Duration duration, bool timed) {
  StepEvent event;
  event.duration = duration;
  for (const ExecutedRow& row : rows) {
    const bool prefill = PhaseOf(row.row) == Phase::kPrefill || row.row.replay;
    ++(prefill ? event.prefill_rows : event.decode_rows);
    (prefill ? event.prefill_tokens : event.decode_tokens) += row.row.count;
    event.mixed |= row.job->choice.variant != rows.front().job->choice.variant;
  }
  attention_.clear();
  for (const VariantStats& stats : stats_.variants) {
    int balance = 0;
    for (const ExecutedRow& row : rows) {
      if (row.job->choice.variant == stats.variant) balance += PhaseOf(row.row) == Phase::kPrefill ? 1 : -1;
    }
    attention_.push_back({stats.variant->name, rows.front().job->choice.model->name,
                         balance > 0 ? Phase::kPrefill : Phase::kDecode, stats.attention_time,
                         stats.workspace_bytes});
  }
  if (timed) {
    event.attention = attention_.data();
    event.attention_count = static_cast<int>(attention_.size());
  }
  telemetry_->OnStep(event);
}

}  // namespace precis::runtime
