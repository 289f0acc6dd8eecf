#include "runtime/engine/engine_impl.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace precis::runtime {
namespace {

int VariantIndex(const kernels::AttentionVariant* variant, const Checkpoint& checkpoint) {
  const auto& variants = checkpoint.variants;
  return static_cast<int>(std::find(variants.begin(), variants.end(), variant) - variants.begin());
}

}  // namespace

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
  return scheduler_.CheckBounds(choice.checkpoint_index, 1, 0, 1, reason);
}

// A step must have room for all beams.
absl::Status EngineImpl::CheckWidth(int beams) const {
  const int most = std::min(options_.max_batch_rows, options_.max_step_tokens);
  if (beams <= most) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "num_beams is ", beams, "; this server runs at most ", most,
      " sequences at once. Ask for fewer beams; the operator can raise --max-batch-rows and --max-step-tokens."));
}

absl::StatusOr<RequestId> EngineImpl::Submit(Request request, RequestCallbacks callbacks) {
  const auto choice = catalog_->Resolve(request.model, request.attention_backend);
  if (!choice.ok()) return choice.status();
  const Checkpoint& checkpoint = *choice->checkpoint;
  absl::Status status = ValidateGenerationOptions(request.options, checkpoint.runner->config().vocab_size,
                                                  checkpoint.runner->context_tokens());
  if (status.ok()) status = CheckWidth(request.options.num_beams);
  if (!status.ok()) return status;
  const RequestLabels labels{choice->model->name, choice->variant->name, checkpoint.runner->device(), request.labels.experiment,
                             request.labels.arm};
  const absl::Time deadline = clock_.FromWall(request.deadline);
  RejectReason reason;
  // Before the work of tokenising, and again after it.
  status = CheckAcceptable(*choice, deadline, &reason);
  if (!status.ok()) return Refuse(labels, reason, status);
  auto prompts = BuildPrompts(checkpoint, request.document, request.options.max_new_tokens, request.too_long);
  if (!prompts.ok()) return prompts.status();
  request.document.clear();
  status = CheckAcceptable(*choice, deadline, &reason);
  if (!status.ok()) return Refuse(labels, reason, status);

  SequenceSpec spec;
  spec.pool = choice->checkpoint_index;
  spec.variant = VariantIndex(choice->variant, checkpoint);
  spec.max_new_tokens = request.options.max_new_tokens;
  spec.beams = request.options.num_beams;
  spec.priority = request.priority;
  spec.deadline = deadline;
  spec.batch_group = request.batch_group;
  if (prompts->size() > 1) {
    return EnqueueChunked(*choice, std::move(request), std::move(callbacks), std::move(spec), *std::move(prompts));
  }
  auto job = std::make_unique<Job>(*choice, std::move(request.options), std::move(request.labels), std::move(callbacks));
  job->truncated_tokens = prompts->front().truncated_tokens;
  spec.prompt = std::move(prompts->front().tokens);
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
  std::shared_ptr<ChunkedRequest> chunked;
  {
    MutexLock lock(&mu_);
    const auto found = chunked_.find(id);
    if (found != chunked_.end()) chunked = found->second.request;
    const absl::Time now = clock_.Now();
    if (auto sequence = scheduler_.Cancel(id, now)) {
      Ended ended;
      ended.push_back(std::move(sequence));
      EndCutShort(std::move(ended), now);
    }
  }
  if (chunked != nullptr) chunked->Abort(absl::CancelledError("The request was cancelled."));
}

void EngineImpl::Drain(absl::Duration bound) {
  const absl::Time end = clock_.Now() + bound;
  {
    MutexLock lock(&mu_);
    draining_ = true;
    while (!nothing_accepted()) {
      const absl::Duration left = end - clock_.Now();
      if (left <= absl::ZeroDuration()) break;
      done_.WaitFor(&mu_, left);
    }
  }
  EndAll(absl::UnavailableError("The server is shutting down and could not finish the request in time; send it "
                                "to another one."));
  delivery_.Flush();
}

void EngineImpl::EndAll(const absl::Status& status) {
  std::vector<std::shared_ptr<ChunkedRequest>> chunked;
  {
    MutexLock lock(&mu_);
    for (const auto& [id, request] : chunked_) chunked.push_back(request.request);
  }
  // Their pieces end with CANCELLED, they themselves with `status`.
  for (const auto& request : chunked) request->Abort(status);
  MutexLock lock(&mu_);
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
  while (!nothing_accepted()) done_.Wait(&mu_);
}

void EngineImpl::EndCutShort(Ended ended, absl::Time now) {
  for (const auto& sequence : ended) {
    const Job& job = *jobs_.at(sequence->id);
    const absl::Status status = CutShortStatus(job, *sequence, now);
    const bool queued = sequence->admitted == absl::InfiniteFuture();
    Telemetry* const telemetry = TelemetryOf(job);
    if (queued && absl::IsDeadlineExceeded(status)) telemetry->OnRejected(job.labels(), RejectReason::kDeadline);
    const absl::Time asked = std::min(sequence->cancelled, sequence->spec.deadline);
    telemetry->OnCancelled(job.labels(), StageOf(job, *sequence), now - asked);
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
  TelemetryOf(job)->OnFinished(job.labels(), reason.status(), reason.ok() ? FinishReasonName(*reason) : "", accounting);
  absl::StatusOr<Result> result = reason.ok()
                                      ? absl::StatusOr<Result>(ResultOf(job, sequence, *reason, accounting))
                                      : absl::StatusOr<Result>(reason.status());
  delivery_.Post({job.callbacks, std::move(delta), std::move(result)});
  rate_.OnFinished(now, !jobs_.empty());
  if (nothing_accepted()) done_.SignalAll();
}

}  // namespace precis::runtime
