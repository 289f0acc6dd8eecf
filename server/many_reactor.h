#ifndef PRECIS_SERVER_MANY_REACTOR_H_
#define PRECIS_SERVER_MANY_REACTOR_H_

#include <deque>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/synchronization/mutex.h"
#include "precis/v1/summarizer.grpc.pb.h"
#include "server/job.h"

namespace precis::server {

class ManyReactor;

// The SummarizeMany streams that are open, so that draining can end them. Thread-safe.
class ManyStreams {
 public:
  void Add(ManyReactor* stream);  // stops it at once if StopAll was called
  void Remove(ManyReactor* stream);
  void StopAll();

 private:
  absl::Mutex mutex_;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
  absl::flat_hash_set<ManyReactor*> streams_ ABSL_GUARDED_BY(mutex_);
};

// SummarizeMany: many documents over one stream, answered as they finish. At most `many_in_flight` requests are unanswered
// (an answer counts until it is written), and nothing is read beyond: gRPC's flow control then stops the client, and a slow reader
// holds no more than that many answers here.
class ManyReactor final
    : public grpc::ServerBidiReactor<precis::v1::SummarizeRequest, precis::v1::SummarizeManyResponse> {
 public:
  ManyReactor(ServerCore* core, grpc::CallbackServerContext* context, ManyStreams* streams);

  // Reads no more; ends with UNAVAILABLE once everything read is answered.
  void Stop();

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  struct Entry {
    precis::v1::SummarizeRequest request;
    std::shared_ptr<Job> job;
  };

  void Handle(std::shared_ptr<Entry> entry);
  void OnJobDone(const std::shared_ptr<Entry>& entry);
  void CancelAll();
  // Starts whatever operation is due, the last one included. A thread that is not in a gRPC callback must call this before it
  // releases the mutex under which it changed the state: the end deletes the reactor.
  void Pump() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void End(bool stopping, bool broken, int64_t taken);

  ServerCore* const core_;
  grpc::CallbackServerContext* const context_;
  ManyStreams* const streams_;
  CallInfo info_;
  absl::Status admission_;
  precis::v1::SummarizeRequest incoming_;        // of the pending read
  precis::v1::SummarizeManyResponse outgoing_;   // of the pending write

  absl::Mutex mutex_;
  absl::flat_hash_set<std::shared_ptr<Entry>> running_ ABSL_GUARDED_BY(mutex_);
  std::deque<precis::v1::SummarizeManyResponse> answers_ ABSL_GUARDED_BY(mutex_);
  int unanswered_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t taken_ ABSL_GUARDED_BY(mutex_) = 0;
  bool reading_ ABSL_GUARDED_BY(mutex_) = false;
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool reads_done_ ABSL_GUARDED_BY(mutex_) = false;  // the client has closed its side
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  bool broken_ ABSL_GUARDED_BY(mutex_) = false;      // the client is gone
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace precis::server

#endif  // PRECIS_SERVER_MANY_REACTOR_H_
