#ifndef PRECIS_RUNTIME_ENGINE_STEP_EXECUTOR_H_
#define PRECIS_RUNTIME_ENGINE_STEP_EXECUTOR_H_

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "runtime/engine/clock.h"
#include "runtime/engine/job.h"
#include "runtime/memory/kv_arena.h"
#include "runtime/scheduler/scheduler.h"

namespace precis::runtime {

// A planned row with its request, and what became of it. A row that runs ahead may outlive both, if the step before ends them: then they are null.
struct ExecutedRow {
  PlannedRow row;
  Job* job;
  int after = -1;          // of a row that runs ahead: the place in the step before of the row that gives its token
  int32_t token = -1;          // if row.sample, without beams
  absl::Span<float> logits = {};  // if row.sample, with beams; valid until the next Run
};

// Runs the rows of plans on the checkpoints' runners, whose KV memory it owns. Not thread-safe: the engine thread's.
class StepExecutor {
 public:
  // One arena for each checkpoint, large enough for the whole budget: the runner's own, or one in host memory.
  static absl::StatusOr<std::unique_ptr<StepExecutor>> Create(const Catalog& catalog,
                                                              const std::vector<int64_t>& pages,
                                                              int64_t attention_workspace_bytes, int step_tokens,
                                                              Telemetry* telemetry);

  // Copies pages, in this order. Before the rows that need it.
  void Copy(absl::Span<const PageCopy> copies);
  // Runs rows of one pool in one step of its runner.
  absl::Status Run(int pool, absl::Span<ExecutedRow> rows, const EngineClock& clock);
  // The same in two halves, as ModelRunner has them. Collect takes out the rows that have outlived their sequences.
  bool launches(int pool) const { return runner(pool).launches(); }
  bool followable(int pool) const { return runner(pool).followable(); }
  absl::Status Launch(int pool, absl::Span<ExecutedRow> rows, const EngineClock& clock);
  absl::Status Collect(int pool, std::vector<ExecutedRow>* rows, const EngineClock& clock);
  void Discard(int pool, int32_t page) {
    if (arenas_[pool] != nullptr) arenas_[pool]->Discard(page);
  }

  // See Engine::SetPower. From any thread.
  void SetPower(double watts) { power_watts_ = watts; }

  struct Memory {
    int64_t activations_bytes = 0, activations_bytes_peak = 0;
    int64_t workspace_bytes = 0, workspace_bytes_peak = 0;
  };
  const Memory& memory() const { return memory_; }

 private:
  // A step that was launched.
  struct Flight {
    bool timed;
    absl::Time begin;
  };

  StepExecutor(const Catalog& catalog, Telemetry* telemetry) : catalog_(catalog), telemetry_(telemetry) {}
  ModelRunner& runner(int pool) const { return *catalog_.all_checkpoints()[pool]->runner; }
  bool NextIsTimed();
  void Finish(absl::Span<ExecutedRow> rows, absl::Duration duration, bool timed);
  void BuildRows(int pool, absl::Span<ExecutedRow> rows);
  void GiveLogits(int vocabulary, absl::Span<ExecutedRow> rows);
  void Account(absl::Span<ExecutedRow> rows);
  void AccountEnergy(absl::Span<ExecutedRow> rows, absl::Duration duration);
  void Report(absl::Span<const ExecutedRow> rows, absl::Duration duration, bool timed);

  const Catalog& catalog_;
  Telemetry* const telemetry_;
  std::vector<std::unique_ptr<KvArena>> arenas_;  // null where the runner has its own memory
  std::vector<KvMemory> memories_;
  Memory memory_;
  int64_t steps_ = 0;
  std::deque<Flight> flights_;
  absl::Time collected_ = absl::InfinitePast();  // when the last step was
  std::atomic<double> power_watts_{-1};  // negative: not known
  // Of the current step; kept for their memory.
  std::vector<StepRow> step_rows_;
  std::vector<SamplingContext> contexts_;
  std::vector<StepOutput> outputs_;
  std::vector<float> logits_;  // of the rows of beams
  StepStats stats_;
  std::vector<StepEvent::AttentionTime> attention_;  // of the event under way
};

}  // namespace precis::runtime

#endif  // PRECIS_RUNTIME_ENGINE_STEP_EXECUTOR_H_
