#ifndef PRECIS_RUNTIME_ENGINE_CHUNKED_REQUEST_H_
#define PRECIS_RUNTIME_ENGINE_CHUNKED_REQUEST_H_

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "runtime/base/mutex.h"
#include "runtime/engine.h"
#include "runtime/engine/clock.h"
#include "runtime/engine/prompt.h"
#include "runtime/model/catalog.h"
#include "runtime/request.h"
#include "runtime/telemetry.h"

namespace precis::runtime {

// A document that is summarised in pieces: each piece, then the summaries joined by newlines, again in pieces while they don't fit, at most
// kLevels times; then what still doesn't fit is truncated. To the outside one request: one on_done, the last summary's text, one record of telemetry. A few pieces are in the
// engine at a time. The first that fails ends the others and is the answer. Thread-safe.
class ChunkedRequest : public std::enable_shared_from_this<ChunkedRequest> {
 public:
  static constexpr int kLevels = 10;
  static constexpr int kPiecesAtATime = 8;

  // The engine's part. Its functions take the engine's lock.
  struct Engine {
    // Enqueues, whatever the queue's bounds. Fails past the deadline.
    std::function<absl::StatusOr<RequestId>(Prompt prompt, RequestCallbacks callbacks)> submit;
    std::function<void(RequestId)> cancel;
    // No piece runs or will run; on_done follows.
    std::function<void()> forget;
    Telemetry* telemetry;
    const EngineClock* clock;
  };

  // `request` without its document. `pieces` are the prompts of the document.
  ChunkedRequest(Request request, const Catalog::Choice& choice, RequestCallbacks callbacks, std::vector<Prompt> pieces, Engine engine);

  void Start();
  // Ends it with `status`, once its pieces have ended.
  void Abort(const absl::Status& status);

 private:
  RequestLabels labels() const;
  void SubmitMore() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  RequestCallbacks CallbacksOfPiece(int index) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // On the delivery thread.
  void OnPiece(int index, absl::StatusOr<Result> result) ABSL_LOCKS_EXCLUDED(mu_);
  void Fail(const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Account(const Accounting& piece) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // The next level, from the summaries of this one; false if there is nothing left to summarise.
  bool StartNextLevel() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Finish(absl::StatusOr<Result> result) ABSL_LOCKS_EXCLUDED(mu_);

  const Request request_;
  const Catalog::Choice choice_;
  const RequestCallbacks callbacks_;
  const Engine engine_;
  const absl::Time submitted_;

  Mutex mu_;  // taken before the engine's
  std::vector<Prompt> pieces_ ABSL_GUARDED_BY(mu_);  // of the level; emptied as they are submitted
  std::vector<std::string> summaries_ ABSL_GUARDED_BY(mu_);
  size_t next_ ABSL_GUARDED_BY(mu_) = 0;  // piece to be submitted
  int answered_ ABSL_GUARDED_BY(mu_) = 0;
  std::map<int, RequestId> in_flight_ ABSL_GUARDED_BY(mu_);
  int level_ ABSL_GUARDED_BY(mu_) = 0;
  absl::Status failure_ ABSL_GUARDED_BY(mu_);
  absl::Time failed_ ABSL_GUARDED_BY(mu_);
  Accounting accounting_ ABSL_GUARDED_BY(mu_);
  absl::Time last_submitted_ ABSL_GUARDED_BY(mu_);
};

}  // namespace precis::runtime

#endif  // PRECIS_RUNTIME_ENGINE_CHUNKED_REQUEST_H_
