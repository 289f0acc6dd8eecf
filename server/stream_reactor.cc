#include "server/stream_reactor.h"

#include <utility>

namespace precis::server {

StreamReactor::StreamReactor(ServerCore* core, grpc::CallbackServerContext* context,
                             const precis::v1::SummarizeRequest& request)
    : core_(core), context_(context) {
  CallInfo info = ReadCallInfo(*context, "StreamSummarize");
  AddCallMetadata(info, context);
  const absl::Status admission = core->Authenticate(Permission::kSummarize, &info);
  job_ = std::make_shared<Job>(core, std::move(info));
  if (!job_->Prepare(request, admission)) {
    End();
    return;
  }
  job_->AddInitialMetadata(context);
  StartSendInitialMetadata();
  job_->Start([this](const std::string& delta) { OnText(delta); }, [this] { OnJobDone(); });
}

void StreamReactor::OnText(const std::string& delta) {
  {
    absl::MutexLock lock(&mutex_);
    buffer_.append(delta);
    if (writing_ || posted_ || broken_) return;
    posted_ = true;
  }
  // The job is done only after this has run: both go through the one delivery thread, in order. So `this` is alive.
  core_->delivery.Post([this] {
    absl::MutexLock lock(&mutex_);
    posted_ = false;
    Pump();
  });
}

void StreamReactor::OnJobDone() {
  {
    absl::MutexLock lock(&mutex_);
    job_done_ = true;
    if (!Pump()) return;
  }
  End();
}

void StreamReactor::OnWriteDone(bool ok) {
  if (!ok) job_->Cancel();
  {
    absl::MutexLock lock(&mutex_);
    writing_ = false;
    broken_ = broken_ || !ok;
    if (!Pump()) return;
  }
  End();
}

bool StreamReactor::Pump() {
  if (writing_) return false;
  if (broken_) buffer_.clear();
  if (!job_done_ && buffer_.empty()) return false;
  writing_ = true;  // for good if this is the end
  message_.Clear();
  message_.set_delta(std::move(buffer_));
  buffer_.clear();
  if (job_done_) return true;
  StartWrite(&message_);
  return false;
}

void StreamReactor::End() {
  job_->AddTrailingMetadata(context_);
  context_->AddTrailingMetadata(kLoadReportKey, core_->load.Report(core_->engine));
  const grpc::Status& status = job_->wire().status;
  if (!status.ok()) return Finish(status);
  *message_.mutable_result() = std::move(job_->response());
  StartWriteAndFinish(&message_, grpc::WriteOptions(), status);
}

}  // namespace precis::server
