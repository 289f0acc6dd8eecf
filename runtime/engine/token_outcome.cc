#include "runtime/engine/token_outcome.h"

namespace precis::runtime {
namespace {

void ReportToken(const Sequence& sequence, Job* job, bool ends_text, absl::Time now, Telemetry* telemetry) {
  if (job->first_token == absl::InfiniteFuture()) {
    job->first_token = now;
    telemetry->OnFirstToken(job->labels(), now - sequence.submitted, now - sequence.admitted);
  } else if (!ends_text) {
    telemetry->OnToken(job->labels(), now - job->last_token);
  }
  job->last_token = now;
}

}  // namespace

TokenOutcome TakeToken(const ExecutedRow& row, absl::Time now, Telemetry* telemetry) {
  const Sequence& sequence = *row.row.sequence;
  Job& job = *row.job;
  const bool ends_text = row.token == EndOfText(*job.choice.checkpoint);
  ReportToken(sequence, &job, ends_text, now, telemetry);
  TokenOutcome outcome;
  if (ends_text) {
    outcome.finished = FinishReason::kEndOfText;
    job.text.Finish(&outcome.delta);
    return outcome;
  }
  outcome.keep = true;
  if (job.text.Push(row.token, &outcome.delta)) {
    outcome.finished = FinishReason::kStopSequence;
    return outcome;
  }
  if (static_cast<int>(sequence.generated.size()) + 1 >= sequence.spec.max_new_tokens) {
    outcome.finished = FinishReason::kMaxNewTokens;  // prompt and max_new_tokens fit into the context (BuildPrompts)
    job.text.Finish(&outcome.delta);
  }
  return outcome;
}

TokenOutcome TakeBeams(absl::Span<const ExecutedRow> rows, absl::Time now, Telemetry* telemetry) {
  const Sequence& sequence = *rows.front().row.sequence;
  Job& job = *rows.front().job;
  std::vector<absl::Span<float>> logits;
  std::vector<absl::Span<const int32_t>> generated;
  for (const ExecutedRow& row : rows) {
    logits.push_back(row.logits);
    generated.push_back(sequence.branch(row.row.branch).generated);
  }
  TokenOutcome outcome;
  const bool ended = !job.beams->Advance(logits, sequence.spec.prompt, generated);
  ReportToken(sequence, &job, ended && job.beams->ended_by_text(), now, telemetry);
  if (!ended) return outcome;
  outcome.finished = job.beams->ended_by_text() ? FinishReason::kEndOfText : FinishReason::kMaxNewTokens;
  for (const int32_t token : job.beams->summary()) job.text.Push(token, &outcome.delta);
  job.text.Finish(&outcome.delta);
  return outcome;
}

}  // namespace precis::runtime
