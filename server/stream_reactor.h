#ifndef PRECIS_SERVER_STREAM_REACTOR_H_
#define PRECIS_SERVER_STREAM_REACTOR_H_

#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "precis/v1/summarizer.grpc.pb.h"
#include "server/job.h"

namespace precis::server {

// StreamSummarize: the text as it is made. The engine's thread appends to a buffer and posts; the delivery thread writes. While
// a write is pending (a slow reader) deltas gather in the buffer and go out as one, so a stream never holds more than its
// summary and never blocks the engine.
class StreamReactor final : public grpc::ServerWriteReactor<precis::v1::StreamSummarizeResponse> {
 public:
  StreamReactor(ServerCore* core, grpc::CallbackServerContext* context, const precis::v1::SummarizeRequest& request);

  void OnWriteDone(bool ok) override;
  void OnCancel() override { job_->Cancel(); }
  void OnDone() override { delete this; }

 private:
  void OnText(const std::string& delta);
  void OnJobDone();
  // Starts the next operation if none is pending. True if that is the last one: then the caller releases the mutex and calls End.
  // Whoever makes the end possible must call this without releasing the mutex in between, since the end deletes the reactor.
  bool Pump() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void End();

  ServerCore* const core_;
  grpc::CallbackServerContext* const context_;
  std::shared_ptr<Job> job_;
  precis::v1::StreamSummarizeResponse message_;  // of the pending write

  absl::Mutex mutex_;
  std::string buffer_ ABSL_GUARDED_BY(mutex_);
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool posted_ ABSL_GUARDED_BY(mutex_) = false;    // a Pump is queued on the delivery thread
  bool job_done_ ABSL_GUARDED_BY(mutex_) = false;
  bool broken_ ABSL_GUARDED_BY(mutex_) = false;    // a write failed: the client is gone
};

}  // namespace precis::server

#endif  // PRECIS_SERVER_STREAM_REACTOR_H_
