#ifndef PRECIS_RUNTIME_SCHEDULER_SCHEDULER_H_
#define PRECIS_RUNTIME_SCHEDULER_SCHEDULER_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "runtime/cache/kv_cache.h"
#include "runtime/sampling/beam_search.h"
#include "runtime/scheduler/sequence.h"
#include "runtime/scheduler/wait_queue.h"
#include "runtime/telemetry.h"

namespace precis::runtime {

struct SchedulerOptions {
  int max_batch_rows = 256;
  int max_step_tokens = 512;
  int max_queued_requests = 1024;
  int64_t max_queued_tokens = int64_t{1} << 20;
  absl::Duration priority_aging = absl::Seconds(5);
  // A sequence is admitted beside others if this part of all that it and they may still grow to fits as well. 1: growth never
  // preempts; 0: the most admitted at once, the most preemptions.
  double growth_reserve = 0.5;
};

// Consecutive tokens of one branch of a sequence that the next step runs.
struct PlannedRow {
  Sequence* sequence;
  int branch;
  int position;  // of the first
  int count;
  bool replay;   // generated before a preemption, run again
  bool sample;   // the last known token is among them: the step chooses the next one
};

// A page whose content is to be copied before the step runs.
struct PageCopy {
  int pool;
  int32_t from, to;
};

struct Plan {
  std::vector<PageCopy> copies;       // in this order
  std::vector<PlannedRow> rows;       // grouped by pool, in the order of pools; then by sequence
  std::vector<Sequence*> admitted;    // for the first time, in this plan
  std::vector<Sequence*> preempted;
};

// Decides what every step runs. A pure state machine over a virtual clock: no thread, no lock, no clock, no model. Every call is given the
// time, which never goes back. The loop around it:
//
//   for (auto& ended : scheduler.Reap(now)) ...           // cancelled or expired while running
//   Plan plan = scheduler.MakePlan(now);
//   ... make plan.copies, then run plan.rows on the models ...
//   for each row: scheduler.Complete(row), then, if it has `sample`, scheduler.Append(row.sequence, token) or Finish(row.sequence, now)
//
// With beams, after all rows of a sequence: Advance in place of Append. Its branches decode all in the same steps.
//
// Batch groups: a plan holds rows of one group only. Groups that have something to run take turns, plan by plan, so each goes on at a share of the
// speed. Memory, the order of admission and preemption are common to all groups.
//
// While the plan's rows run, Enqueue, Cancel and ExpireQueued may be called; they change nothing that the rows refer to.
//
// Where all that comes next is the next token of every sequence, PlanAhead gives the rows of the next step before those of the last one are completed. The
// pages of a sequence that ends meanwhile may go to others: its row of the next step must have run before theirs.
//
// Invariants: a sequence is waiting (holds no page) or running; the branches of running sequences, and so the rows of a plan, number at most
// max_batch_rows, their tokens at most max_step_tokens; the pages that running sequences hold fit the cache's budget; every running sequence that decodes is in every plan of its group; the
// best-ranked running sequence is never preempted, so that something always goes forward.
class Scheduler {
 public:
  // `cache` must outlive it. At most most_rows() branches run at once, so that each decodes in every step.
  Scheduler(const SchedulerOptions& options, KvCache* cache);
  ~Scheduler();

  // min(max_batch_rows, max_step_tokens).
  int most_rows() const { return most_rows_; }
  // Whether a request of this size would be accepted now: OK, or RESOURCE_EXHAUSTED with *reason set.
  absl::Status CheckBounds(int pool, int64_t prompt_tokens, int64_t max_new_tokens, int beams, RejectReason* reason) const;
  // The queue's part of that.
  absl::Status CheckQueue(int64_t prompt_tokens, RejectReason* reason) const;
  // Counts (or no longer counts) so many prompt tokens as waiting: of parts of an accepted request that are enqueued later.
  void HoldQueueTokens(int64_t more) { queued_tokens_ += more; }
  // Enqueues; the same errors, unless spec.accepted. spec.beams is at most most_rows().
  absl::StatusOr<Sequence*> Enqueue(SequenceSpec spec, absl::Time now, RejectReason* reason);

  // Waiting: removes it and returns it. Running: it ends at the next Reap; returns null. Unknown: null.
  std::unique_ptr<Sequence> Cancel(SequenceId id, absl::Time now);
  // Removes what waits past its deadline.
  std::vector<std::unique_ptr<Sequence>> ExpireQueued(absl::Time now);
  absl::Time next_queue_deadline() const { return waiting_.next_deadline(); }

  // Ends running sequences that were cancelled or are past their deadline; their pages are free on return.
  std::vector<std::unique_ptr<Sequence>> Reap(absl::Time now);
  Plan MakePlan(absl::Time now);
  // The rows that follow `rows`, all those of a plan (or of a PlanAhead) without beams, if every one gives a token that doesn't end its sequence; what a row
  // follows is at the same place in *after. A sequence that has its last token then has none. Empty if anything else is to be planned: something waits, was
  // cancelled, is late or still runs known tokens, or memory is short.
  std::vector<PlannedRow> PlanAhead(absl::Span<const PlannedRow> rows, absl::Time now, std::vector<int>* after);
  // The row was run: its keys and values are in the pages.
  void Complete(const PlannedRow& row);
  void Append(Sequence* sequence, int32_t token) { sequence->generated.push_back(token); }
  // The next tokens of all spec.beams branches, and which of the present ones each goes on from. Branches that share a history share its pages.
  void Advance(Sequence* sequence, absl::Span<const BeamChoice> next, absl::Time now);
  // Ends a running sequence; its pages are free on return.
  std::unique_ptr<Sequence> Finish(Sequence* sequence, absl::Time now);

  int running() const { return static_cast<int>(running_.size()); }
  const std::vector<Sequence*>& running_sequences() const { return running_; }
  const WaitQueue& wait_queue() const { return waiting_; }
  int waiting() const { return waiting_.size(); }
  int waiting(Priority priority) const { return waiting_.size(priority); }
  int64_t waiting_tokens() const { return waiting_.prompt_tokens(); }
  // Accepted and never admitted: what the queue's bounds are about.
  int queued() const { return queued_; }
  int64_t queued_tokens() const { return queued_tokens_; }
  bool idle() const { return sequences_.empty(); }
  const KvCache& cache() const { return cache_; }

 private:
  bool HasBetterRank(const Sequence* a, const Sequence* b, absl::Time now) const;
  void PreemptForPriority(absl::Time now, Plan* plan);
  bool Admit(Sequence* sequence, absl::Time now, Plan* plan);
  void TakePages(Sequence* sequence);
  bool LeavesRoomToGrow(const Sequence& sequence, int64_t more_pages) const;
  std::vector<uint64_t> GroupsInTurn(absl::Time now) const;
  void PlanDecodes(uint64_t group, absl::Time now, int* budget, Plan* plan);
  bool SecureNextToken(size_t index, absl::Time now, Plan* plan);
  bool SecurePage(Sequence* sequence, Branch* branch, std::vector<PageCopy>* copies);
  bool MayRunAhead(absl::Span<const PlannedRow> rows, absl::Time now) const;
  void PlanPrefills(uint64_t group, absl::Time now, int budget, Plan* plan);
  void PlanKnownTokens(Sequence* sequence, int* budget, Plan* plan);
  void Preempt(Sequence* sequence, absl::Time now, Plan* plan);
  void AccountPages(Sequence* sequence, absl::Time now);
  void ReleasePages(Sequence* sequence, absl::Time now);
  void LeaveQueue(Sequence* sequence);
  std::unique_ptr<Sequence> Extract(Sequence* sequence);

  const SchedulerOptions options_;
  const int most_rows_;
  KvCache& cache_;
  absl::flat_hash_map<SequenceId, std::unique_ptr<Sequence>> sequences_;
  WaitQueue waiting_;
  std::vector<Sequence*> running_;  // best rank first as of the last plan
  int running_rows_ = 0;            // their branches, those to come included
  uint64_t last_group_ = 0;         // of the last plan
  SequenceId next_id_ = 1;
  int queued_ = 0;
  int64_t queued_tokens_ = 0;
};

}  // namespace precis::runtime

#endif  // PRECIS_RUNTIME_SCHEDULER_SCHEDULER_H_
