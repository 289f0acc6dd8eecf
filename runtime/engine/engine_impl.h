#ifndef PRECIS_RUNTIME_ENGINE_ENGINE_IMPL_H_
#define PRECIS_RUNTIME_ENGINE_ENGINE_IMPL_H_

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "runtime/base/mutex.h"
#include "runtime/engine.h"
#include "runtime/engine/clock.h"
#include "runtime/engine/chunked_request.h"
#include "runtime/engine/delivery.h"
#include "runtime/engine/job.h"
#include "runtime/engine/piece_telemetry.h"
#include "runtime/engine/prompt.h"
#include "runtime/engine/service_rate.h"
#include "runtime/engine/step_executor.h"
#include "runtime/engine/token_outcome.h"
#include "runtime/scheduler/scheduler.h"

namespace precis::runtime {

// Threads:
//   engine    plans, runs the models, ends running requests. Alone it touches runners, pages and running sequences' tokens.
//   timer     ends what waits past its deadline, whatever the engine thread is doing; reports gauges after changes of the queue.
//   delivery  calls the requests' callbacks.
//   callers   Submit tokenises and enqueues; Cancel ends what waits and marks what runs.
// mu_ guards the scheduler and the jobs; it is never held while a model runs or a callback is called.
class EngineImpl final : public Engine {
 public:
  static absl::StatusOr<std::unique_ptr<Engine>> Create(std::unique_ptr<Catalog> catalog,
                                                        const EngineOptions& options, Telemetry* telemetry);
  ~EngineImpl() override;

  absl::StatusOr<RequestId> Submit(Request request, RequestCallbacks callbacks) override;
  void Cancel(RequestId id) override;
  void Drain(absl::Duration bound) override;
  void SetPower(double watts) override { executor_->SetPower(watts); }
  const Catalog& catalog() const override { return *catalog_; }
  Load load() const override;

 private:
  std::atomic<uint32_t> fresh_caches_{0};  // requests that share no cache
  static constexpr RequestId kFirstChunked = RequestId{1} << 63;  // ids below are those of sequences
  using Ended = std::vector<std::unique_ptr<Sequence>>;

  EngineImpl(std::unique_ptr<Catalog> catalog, const EngineOptions& options, Telemetry* telemetry);
  absl::Status Start();

  absl::Status Refuse(const RequestLabels& labels, RejectReason reason, absl::Status status);
  absl::Status CheckWidth(int beams) const;
  absl::Status CheckAcceptable(const Catalog::Choice& choice, absl::Time deadline, RejectReason* reason);

  absl::StatusOr<RequestId> Enqueue(SequenceSpec spec, std::unique_ptr<Job> job);
  // Instead, for a document that is summarised in pieces. `spec` is that of a piece, without its prompt.
  absl::StatusOr<RequestId> EnqueueChunked(const Catalog::Choice& choice, Request request, RequestCallbacks callbacks,
                                           SequenceSpec spec, std::vector<Prompt> pieces);
  absl::Status AcceptChunked(const SequenceSpec& spec, absl::Span<const Prompt> pieces, RejectReason* reason)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::StatusOr<RequestId> SubmitPiece(RequestId whole, std::unique_ptr<Job> job, SequenceSpec spec) ABSL_LOCKS_EXCLUDED(mu_);
  void ForgetChunked(RequestId id) ABSL_LOCKS_EXCLUDED(mu_);

  // Engine thread.
  void RunEngine();
  void Step();
  void RunStep(int pool, absl::Span<ExecutedRow> rows);
  void RunAhead(int pool, std::vector<ExecutedRow> rows);
  std::vector<ExecutedRow> PlanStep(std::vector<PageCopy>* copies);
  std::vector<ExecutedRow> PlanAhead(int pool, absl::Span<const ExecutedRow> rows);
  void DropEnded(absl::Span<ExecutedRow> rows, absl::Span<const SequenceId> ids);
  void FinishRows(absl::Span<const ExecutedRow> rows);
  void FinishRequestRows(absl::Span<const ExecutedRow> rows, TokenOutcome outcome, absl::Time now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void FailRows(absl::Span<const ExecutedRow> rows, const absl::Status& status);

  // Timer thread.
  void RunTimer();

  // Answers what was cut short. The sequences hold no pages any more.
  void EndCutShort(Ended ended, absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Answers one and forgets it.
  void End(const Sequence& sequence, absl::StatusOr<FinishReason> reason, std::string delta, absl::Time now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void EndAll(const absl::Status& status) ABSL_LOCKS_EXCLUDED(mu_);
  bool nothing_accepted() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return jobs_.empty() && chunked_.empty(); }
  Telemetry* TelemetryOf(const Job& job) { return job.piece ? &piece_telemetry_ : telemetry_; }
  void ReportGauges() ABSL_LOCKS_EXCLUDED(mu_, gauges_mu_);
  GaugeSnapshot Gauges() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  std::vector<GaugeSnapshot::Share> Shares() const ABSL_SHARED_LOCKS_REQUIRED(mu_);
  Load LoadLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const std::unique_ptr<Catalog> catalog_;
  const EngineOptions options_;
  Telemetry* const telemetry_;  // never null
  PieceTelemetry piece_telemetry_{telemetry_};
  const EngineClock clock_;
  Delivery delivery_;
  std::unique_ptr<StepExecutor> executor_;  // engine thread

  mutable Mutex mu_;
  CondVar work_;   // there is something to plan, or stopping_
  CondVar timer_;  // the next deadline changed, gauges changed, or stopping_
  CondVar done_;   // nothing_accepted()
  KvCache cache_ ABSL_GUARDED_BY(mu_);
  Scheduler scheduler_ ABSL_GUARDED_BY(mu_);
  absl::flat_hash_map<SequenceId, std::unique_ptr<Job>> jobs_ ABSL_GUARDED_BY(mu_);
  struct Chunked {
    std::shared_ptr<ChunkedRequest> request;
    int64_t held_tokens;  // in the queue's bounds: of pieces not yet enqueued
  };
  absl::flat_hash_map<RequestId, Chunked> chunked_ ABSL_GUARDED_BY(mu_);
  RequestId next_chunked_ ABSL_GUARDED_BY(mu_) = kFirstChunked;
  ServiceRate rate_ ABSL_GUARDED_BY(mu_);
  StepExecutor::Memory memory_ ABSL_GUARDED_BY(mu_);  // of the executor, as of the last step
  bool gauges_changed_ ABSL_GUARDED_BY(mu_) = false;
  bool draining_ ABSL_GUARDED_BY(mu_) = false;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;

  Mutex gauges_mu_ ABSL_ACQUIRED_BEFORE(mu_);  // keeps snapshots in order
  std::thread engine_thread_;
  std::thread timer_thread_;
};

}  // namespace precis::runtime

#endif  // PRECIS_RUNTIME_ENGINE_ENGINE_IMPL_H_
