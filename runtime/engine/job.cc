#include "runtime/engine/job.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace precis::runtime {

int32_t EndOfText(const Checkpoint& checkpoint) {
  const int32_t id = checkpoint.runner->config().eos_token_id;
  return id >= 0 ? id : checkpoint.tokenizer->end_of_text();
}

Accounting AccountingOf(const Job& job, const Sequence& sequence, int64_t page_bytes, absl::Time now) {
  Accounting accounting;
  accounting.prompt_tokens = sequence.prompt_tokens();
  accounting.cached_tokens = sequence.cached_tokens;
  accounting.truncated_tokens = job.truncated_tokens;
  accounting.new_tokens = static_cast<int>(sequence.generated.size());
  accounting.queue = std::min(sequence.admitted, now) - sequence.submitted;
  if (sequence.admitted != absl::InfiniteFuture()) {
    accounting.prefill = std::min(job.first_token, now) - sequence.admitted;
  }
  if (job.first_token != absl::InfiniteFuture()) {
    accounting.decode = job.last_token - job.first_token;
    accounting.time_to_first_token = job.first_token - sequence.submitted;
  }
  accounting.total = now - sequence.submitted;
  accounting.kv_cache_peak_bytes = sequence.peak_pages * page_bytes;
  accounting.kv_block_seconds = sequence.page_seconds;
  accounting.attention_workspace_peak_bytes = job.workspace_peak_bytes;
  accounting.preemptions = sequence.preemptions;
  accounting.energy_joules = job.energy_joules;
  accounting.weights_bytes = job.choice.checkpoint->runner->weights_bytes();
  return accounting;
}

Result ResultOf(const Job& job, const Sequence& sequence, FinishReason reason, const Accounting& accounting) {
  Result result;
  result.summary = job.text.summary();
  result.token_ids = sequence.generated;
  result.finish_reason = reason;
  result.model = job.choice.model->name;
  result.attention_backend = std::string(job.choice.variant->name);
  result.checkpoint = job.choice.checkpoint->name;
  result.accounting = accounting;
  return result;
}

absl::Status CutShortStatus(const Job& job, const Sequence& sequence, absl::Time now) {
  if (!job.abort.ok()) return job.abort;
  if (sequence.cancelled <= now) return absl::CancelledError("The request was cancelled.");
  return absl::DeadlineExceededError(
      absl::StrCat("The deadline passed ",
                   sequence.admitted == absl::InfiniteFuture() ? "in the queue" : "while the request was running",
                   ", after ", absl::FormatDuration(absl::Trunc(now - sequence.submitted, absl::Milliseconds(1))),
                   " and ", sequence.generated.size(),
                   " new tokens. Give a later deadline, ask for fewer tokens, or send it when the server is less "
                   "busy."));
}

std::string_view StageOf(const Job& job, const Sequence& sequence) {
  if (sequence.admitted == absl::InfiniteFuture()) return "queued";
  return job.first_token == absl::InfiniteFuture() ? "prefill" : "decode";
}

}  // namespace precis::runtime
