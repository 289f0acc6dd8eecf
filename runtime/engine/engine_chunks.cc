// Documents that are summarised in pieces.
#include <algorithm>
#include <utility>

#include "runtime/engine/engine_impl.h"

namespace precis::runtime {

absl::StatusOr<RequestId> EngineImpl::EnqueueChunked(const Catalog::Choice& choice, Request request, RequestCallbacks callbacks,
                                                     SequenceSpec spec, std::vector<Prompt> pieces) {
  spec.accepted = true;
  std::shared_ptr<ChunkedRequest> chunked;
  RejectReason reason;
  absl::Status refused;
  RequestId id = 0;
  {
    MutexLock lock(&mu_);
    refused = AcceptChunked(spec, pieces, &reason);
    if (refused.ok()) {
      id = next_chunked_++;
      int64_t tokens = 0;
      for (const Prompt& piece : pieces) tokens += static_cast<int64_t>(piece.tokens.size());
      const auto submit = [this, id, choice, spec, options = request.options, arm = request.labels](
                              Prompt prompt, RequestCallbacks of_piece) {
        auto job = std::make_unique<Job>(choice, options, arm, std::move(of_piece));
        job->piece = true;
        job->truncated_tokens = prompt.truncated_tokens;
        SequenceSpec next = spec;
        next.prompt = std::move(prompt.tokens);
        return SubmitPiece(id, std::move(job), std::move(next));
      };
      chunked = std::make_shared<ChunkedRequest>(
          std::move(request), choice, std::move(callbacks), std::move(pieces),
          ChunkedRequest::Engine{submit, [this](RequestId piece) { Cancel(piece); }, [this, id] { ForgetChunked(id); }, telemetry_,
                                 &clock_});
      chunked_[id] = {chunked, tokens};
      scheduler_.HoldQueueTokens(tokens);
    }
  }
  if (!refused.ok()) {
    return Refuse({choice.model->name, choice.variant->name, choice.checkpoint->runner->device(), request.labels.experiment,
                   request.labels.arm}, reason, refused);
  }
  chunked->Start();
  return id;
}

// The bounds of the queue for all pieces as one request, those of memory for the largest.
absl::Status EngineImpl::AcceptChunked(const SequenceSpec& spec, absl::Span<const Prompt> pieces, RejectReason* reason) {
  if (draining_) {
    *reason = RejectReason::kDraining;
    return absl::UnavailableError("The server is shutting down and takes no new requests.");
  }
  int64_t largest = 0, all = 0;
  for (const Prompt& piece : pieces) {
    largest = std::max(largest, static_cast<int64_t>(piece.tokens.size()));
    all += static_cast<int64_t>(piece.tokens.size());
  }
  // A summary of summaries may fill the context.
  largest = std::max(largest, int64_t{catalog_->all_checkpoints()[spec.pool]->runner->context_tokens()} - spec.max_new_tokens);
  absl::Status status = scheduler_.CheckBounds(spec.pool, largest, spec.max_new_tokens, spec.beams, reason);
  return status.ok() ? scheduler_.CheckQueue(all, reason) : status;
}

absl::StatusOr<RequestId> EngineImpl::SubmitPiece(RequestId whole, std::unique_ptr<Job> job, SequenceSpec spec) {
  MutexLock lock(&mu_);
  const absl::Time now = clock_.Now();
  if (spec.deadline <= now) return absl::DeadlineExceededError("");
  int64_t& held = chunked_.at(whole).held_tokens;
  const int64_t given_back = std::min(held, static_cast<int64_t>(spec.prompt.size()));
  held -= given_back;
  scheduler_.HoldQueueTokens(-given_back);
  RejectReason reason;
  const absl::StatusOr<Sequence*> sequence = scheduler_.Enqueue(std::move(spec), now, &reason);
  if (!sequence.ok()) return sequence.status();
  jobs_.emplace((*sequence)->id, std::move(job));
  work_.Signal();
  timer_.Signal();
  gauges_changed_ = true;
  return (*sequence)->id;
}

void EngineImpl::ForgetChunked(RequestId id) {
  MutexLock lock(&mu_);
  const auto found = chunked_.find(id);
  scheduler_.HoldQueueTokens(-found->second.held_tokens);
  chunked_.erase(found);
  if (nothing_accepted()) done_.SignalAll();
}

}  // namespace precis::runtime
