#include "server/many_reactor.h"

#include <utility>
#include <vector>

#include "server/text.h"


namespace precis::server {

void ManyStreams::Add(ManyReactor* stream) {
  absl::MutexLock lock(&mutex_);
  streams_.insert(stream);
  if (stopped_) stream->Stop();
}

void ManyStreams::Remove(ManyReactor* stream) {
  absl::MutexLock lock(&mutex_);
  streams_.erase(stream);
}

void ManyStreams::StopAll() {
  absl::MutexLock lock(&mutex_);
  stopped_ = true;
  for (ManyReactor* stream : streams_) stream->Stop();
}

ManyReactor::ManyReactor(ServerCore* core, grpc::CallbackServerContext* context, ManyStreams* streams)
    : core_(core), context_(context), streams_(streams), info_(ReadCallInfo(*context, "SummarizeMany")) {
  AddCallMetadata(info_, context);
  admission_ = core->Authenticate(Permission::kSummarize, &info_);
  if (!admission_.ok()) {
    core->metrics->OnRefused({"none", "none", "cpu"}, "auth");
  } else {
    admission_ = core->CheckServing();
  }
  if (admission_.ok()) StartSendInitialMetadata();
  streams_->Add(this);
  absl::MutexLock lock(&mutex_);
  stopping_ = stopping_ || !admission_.ok();
  Pump();
}

void ManyReactor::Stop() {
  absl::MutexLock lock(&mutex_);
  stopping_ = true;
  Pump();
}

void ManyReactor::OnReadDone(bool ok) {
  std::shared_ptr<Entry> entry;
  {
    absl::MutexLock lock(&mutex_);
    reading_ = false;
    if (ended_) return;
    if (ok) {
      ++unanswered_;
      ++taken_;
      entry = std::make_shared<Entry>();
      running_.insert(entry);
      entry->request.Swap(&incoming_);
      incoming_.Clear();
      CallInfo info = info_;
      info.start = absl::Now();
      info.request_id = StrCat(info_.request_id, "/", taken_);
      entry->job = std::make_shared<Job>(core_, std::move(info));
    } else {
      reads_done_ = true;
    }
    Pump();  // the next read goes on while this document is looked at
  }
  if (entry != nullptr) Handle(std::move(entry));
}

void ManyReactor::Handle(std::shared_ptr<Entry> entry) {
  if (!entry->job->Prepare(entry->request)) return OnJobDone(entry);
  bool gone = false;
  {
    absl::MutexLock lock(&mutex_);
    gone = broken_;
  }
  if (gone) entry->job->Cancel();
  entry->job->Start(nullptr, [this, entry] { OnJobDone(entry); });
}

void ManyReactor::OnJobDone(const std::shared_ptr<Entry>& entry) {
  precis::v1::SummarizeManyResponse answer;
  answer.set_client_request_id(entry->request.client_request_id());
  const WireStatus& wire = entry->job->wire();
  if (wire.status.ok()) {
    *answer.mutable_result() = std::move(entry->job->response());
  } else {
    precis::v1::SummarizeError* error = answer.mutable_error();
    error->set_code(wire.status.error_code());
    error->set_message(wire.status.error_message());
    if (wire.retry_after > absl::ZeroDuration()) {
      error->set_retry_after_ms(static_cast<int32_t>(absl::ToInt64Milliseconds(wire.retry_after)));
    }
  }
  absl::MutexLock lock(&mutex_);
  running_.erase(entry);
  answers_.push_back(std::move(answer));
  Pump();
}

void ManyReactor::OnWriteDone(bool ok) {
  if (!ok) CancelAll();
  absl::MutexLock lock(&mutex_);
  writing_ = false;
  --unanswered_;
  Pump();
}

void ManyReactor::OnCancel() {
  CancelAll();
  absl::MutexLock lock(&mutex_);
  Pump();
}

void ManyReactor::CancelAll() {
  std::vector<std::shared_ptr<Entry>> running;
  {
    absl::MutexLock lock(&mutex_);
    broken_ = true;
    running.assign(running_.begin(), running_.end());
  }
  for (const auto& entry : running) entry->job->Cancel();
}

void ManyReactor::Pump() {
  if (ended_) return;
  if (broken_) {
    unanswered_ -= static_cast<int>(answers_.size());
    answers_.clear();
  }
  if (!writing_ && !answers_.empty()) {
    writing_ = true;
    outgoing_ = std::move(answers_.front());
    answers_.pop_front();
    StartWrite(&outgoing_);
  }
  const bool closed = reads_done_ || stopping_ || broken_;
  if (!closed && !reading_ && unanswered_ < core_->limits.many_in_flight) {
    reading_ = true;
    StartRead(&incoming_);
  }
  if (closed && unanswered_ == 0 && !writing_) {
    ended_ = true;
    End(stopping_ && !reads_done_, broken_, taken_);
  }
}

void ManyReactor::End(bool stopping, bool broken, int64_t taken) {
  absl::Status status;
  if (broken) {
    status = absl::CancelledError("the client cancelled the call");
  } else if (!admission_.ok()) {
    status = admission_;
  } else if (stopping) {
    status = absl::UnavailableError(
        "the server is draining before it stops; all requests that it took are answered, send the others elsewhere");
  }
  context_->AddTrailingMetadata("precis-requests", StrCat(taken));
  context_->AddTrailingMetadata(kLoadReportKey, core_->load.Report(core_->engine));
  Finish(ToWireStatus(status, absl::ZeroDuration()).status);
}

void ManyReactor::OnDone() {
  streams_->Remove(this);
  { absl::MutexLock lock(&mutex_); }  // whoever called Finish has let go
  delete this;
}

}  // namespace precis::server
