#ifndef PRECIS_CLIENT_INTERNAL_MANY_CALL_H_
#define PRECIS_CLIENT_INTERNAL_MANY_CALL_H_

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "client/internal/client_impl.h"

namespace precis::client {

// One SummarizeMany: a writer thread that takes requests from `next`, the caller's thread that reads answers, and the
// table of unanswered requests between them, which outlives a broken stream. Use once.
class ManyCall {
 public:
  using Next = absl::FunctionRef<bool(v1::SummarizeRequest*)>;
  using OnAnswer = absl::FunctionRef<void(const v1::SummarizeManyResponse&)>;
  using Stream = grpc::ClientReaderWriter<v1::SummarizeRequest, v1::SummarizeManyResponse>;

  ManyCall(SummarizerClient::ManyOptions options, Next next, OnAnswer on_answer,
           std::function<void(absl::Time deadline, grpc::ClientContext*)> prepare,
           std::function<absl::Status(const grpc::Status&, const grpc::ClientContext&)> to_status,
           v1::Summarizer::Stub* stub, Attempts attempts);

  absl::Status Run();

 private:
  struct Item {
    v1::SummarizeRequest request;
    Attempts attempts;
    absl::Time due = absl::InfinitePast();  // when to send it (again)
    bool sent = false;                      // over the current stream
  };
  enum class Turn { kSend, kTakeNext, kStop };

  absl::Status RunStream();
  void WriteAll(Stream* stream);
  // Waits until there is something to send (then fills *request), or room for another request.
  Turn WaitForTurn(v1::SummarizeRequest* request);
  bool MustAct() const ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  Item* DueItem(absl::Time now) ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  absl::Time NextDue() const ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  // Calls `next` and enters what it gives.
  void TakeNext();
  void OnMessage(v1::SummarizeManyResponse message);
  // Prepares the unanswered requests for another stream; false if it must not be tried.
  bool Reopen(const absl::Status& status);
  void AnswerRest(const absl::Status& status);

  const SummarizerClient::ManyOptions options_;
  const Next next_;
  const OnAnswer on_answer_;
  const std::function<void(absl::Time, grpc::ClientContext*)> prepare_;
  const std::function<absl::Status(const grpc::Status&, const grpc::ClientContext&)> to_status_;
  v1::Summarizer::Stub* const stub_;
  const Attempts fresh_attempts_;
  Attempts stream_attempts_;
  const absl::Time deadline_;
  Cancellation never_;
  Cancellation* const cancellation_;

  absl::Mutex mutex_;
  std::map<std::string, Item> unanswered_ ABSL_GUARDED_BY(mutex_);
  std::vector<v1::SummarizeManyResponse> refused_ ABSL_GUARDED_BY(mutex_);  // duplicates: answered by us
  uint64_t made_ids_ ABSL_GUARDED_BY(mutex_) = 0;
  bool exhausted_ ABSL_GUARDED_BY(mutex_) = false;  // `next` has no more
  bool broken_ ABSL_GUARDED_BY(mutex_) = false;     // the current stream
};

}  // namespace precis::client

#endif  // PRECIS_CLIENT_INTERNAL_MANY_CALL_H_
