#include "runtime/engine/chunked_request.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"

namespace precis::runtime {

ChunkedRequest::ChunkedRequest(Request request, const Catalog::Choice& choice, RequestCallbacks callbacks,
                               std::vector<Prompt> pieces, Engine engine)
    : request_(std::move(request)),
      choice_(choice),
      callbacks_(std::move(callbacks)),
      engine_(std::move(engine)),
      submitted_(engine_.clock->Now()),
      pieces_(std::move(pieces)),
      summaries_(pieces_.size()) {
  accounting_.chunks = static_cast<int>(pieces_.size());
}

RequestLabels ChunkedRequest::labels() const {
  return {choice_.model->name, choice_.variant->name, choice_.checkpoint->runner->device(), request_.labels.experiment,
          request_.labels.arm};
}

void ChunkedRequest::Start() {
  absl::Status ended;
  {
    MutexLock lock(&mu_);
    SubmitMore();
    if (in_flight_.empty()) ended = failure_;
  }
  if (!ended.ok()) Finish(ended);
}

void ChunkedRequest::Abort(const absl::Status& status) {
  MutexLock lock(&mu_);
  Fail(status);
}

void ChunkedRequest::SubmitMore() {
  while (failure_.ok() && next_ < pieces_.size() && in_flight_.size() < kPiecesAtATime) {
    const int index = static_cast<int>(next_++);
    const absl::StatusOr<RequestId> id = engine_.submit(std::move(pieces_[index]), CallbacksOfPiece(index));
    if (!id.ok()) return Fail(id.status());
    in_flight_.emplace(index, *id);
    last_submitted_ = engine_.clock->Now();
  }
}

// Only the last summary's text goes out.
RequestCallbacks ChunkedRequest::CallbacksOfPiece(int index) {
  const auto self = shared_from_this();
  RequestCallbacks callbacks;
  if (level_ > 0 && pieces_.size() == 1 && callbacks_.on_text) {
    callbacks.on_text = [self](const std::string& delta) { self->callbacks_.on_text(delta); };
  }
  callbacks.on_done = [self, index](absl::StatusOr<Result> result) { self->OnPiece(index, std::move(result)); };
  return callbacks;
}

void ChunkedRequest::OnPiece(int index, absl::StatusOr<Result> result) {
  std::optional<absl::StatusOr<Result>> end;
  {
    MutexLock lock(&mu_);
    in_flight_.erase(index);
    if (!result.ok()) {
      Fail(result.status());
    } else {
      if (level_ == 0 && index == 0) accounting_.queue = result->accounting.queue;
      Account(result->accounting);
      ++answered_;
      summaries_[index] = std::move(result->summary);
      const bool last = level_ > 0 && summaries_.size() == 1;
      const bool level_done = answered_ == static_cast<int>(summaries_.size());
      if (failure_.ok() && !level_done) SubmitMore();
      if (failure_.ok() && level_done && (last || !StartNextLevel())) {
        accounting_.time_to_first_token = last_submitted_ - submitted_ + result->accounting.time_to_first_token;
        result->summary = last ? std::move(summaries_[0]) : "";
        end = std::move(result);
      }
    }
    if (!failure_.ok() && in_flight_.empty()) end = failure_;
  }
  if (end.has_value()) Finish(*std::move(end));
}

void ChunkedRequest::Fail(const absl::Status& status) {
  if (!failure_.ok()) return;
  failure_ = status;
  failed_ = engine_.clock->Now();
  if (absl::IsDeadlineExceeded(status)) {
    failure_ = absl::DeadlineExceededError(absl::StrCat(
        "The deadline passed after ", absl::FormatDuration(absl::Trunc(failed_ - submitted_, absl::Milliseconds(1))), ", when ", answered_,
        " of ", summaries_.size(), level_ == 0 ? " pieces of the document" : " pieces of its summaries",
        " were summarised. Give a later deadline, ask for fewer tokens, or send less text."));
  }
  for (const auto& [index, id] : in_flight_) engine_.cancel(id);
}

void ChunkedRequest::Account(const Accounting& piece) {
  accounting_.prompt_tokens += piece.prompt_tokens;
  accounting_.cached_tokens += piece.cached_tokens;
  accounting_.truncated_tokens += piece.truncated_tokens;
  accounting_.new_tokens += piece.new_tokens;
  accounting_.prefill += piece.prefill;
  accounting_.decode += piece.decode;
  accounting_.kv_block_seconds += piece.kv_block_seconds;
  accounting_.preemptions += piece.preemptions;
  if (piece.energy_joules.has_value()) accounting_.energy_joules = accounting_.energy_joules.value_or(0) + *piece.energy_joules;
  accounting_.kv_cache_peak_bytes = std::max(accounting_.kv_cache_peak_bytes, piece.kv_cache_peak_bytes);
  accounting_.attention_workspace_peak_bytes =
      std::max(accounting_.attention_workspace_peak_bytes, piece.attention_workspace_peak_bytes);
  accounting_.weights_bytes = piece.weights_bytes;
}

bool ChunkedRequest::StartNextLevel() {
  std::string joined;
  for (const std::string& summary : summaries_) {
    if (!summary.empty()) absl::StrAppend(&joined, joined.empty() ? "" : "\n", summary);
  }
  if (joined.empty()) return false;
  ++level_;
  auto pieces = BuildPrompts(*choice_.checkpoint, joined, request_.options.max_new_tokens,
                             level_ < kLevels ? TooLong::kChunk : TooLong::kTruncate);
  if (!pieces.ok()) {
    Fail(pieces.status());
    return true;
  }
  pieces_ = *std::move(pieces);
  summaries_.assign(pieces_.size(), "");
  next_ = 0;
  answered_ = 0;
  if (pieces_.size() > 1) accounting_.chunks += static_cast<int>(pieces_.size());
  SubmitMore();
  return true;
}

void ChunkedRequest::Finish(absl::StatusOr<Result> result) {
  Accounting accounting;
  absl::Duration since_failure;
  {
    MutexLock lock(&mu_);
    const absl::Time now = engine_.clock->Now();
    accounting_.total = now - submitted_;
    since_failure = now - failed_;
    accounting = accounting_;
  }
  Telemetry& telemetry = *engine_.telemetry;
  if (result.ok()) {
    result->accounting = accounting;
    telemetry.OnScheduled(labels(), accounting.queue);
    telemetry.OnFirstToken(labels(), accounting.time_to_first_token, accounting.prefill);
  } else if (!absl::IsInternal(result.status())) {  // cut short
    telemetry.OnCancelled(labels(), accounting.prompt_tokens == 0 ? "prefill" : "decode", since_failure);
  }
  telemetry.OnFinished(labels(), result.status(), result.ok() ? FinishReasonName(result->finish_reason) : "", accounting);
  engine_.forget();
  callbacks_.on_done(std::move(result));
}

}  // namespace precis::runtime
