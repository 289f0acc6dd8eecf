#ifndef PRECIS_RUNTIME_ENGINE_H_
#define PRECIS_RUNTIME_ENGINE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "runtime/model/catalog.h"
#include "runtime/request.h"
#include "runtime/telemetry.h"

namespace precis::runtime {

struct EngineOptions {
  int threads = 0;  // 0: the machine's cores
  int64_t kv_cache_bytes = int64_t{1} << 30;  // for all checkpoints together; never exceeded
  int64_t attention_workspace_bytes = int64_t{256} << 20;  // `standard` is cut into row chunks above it
  int max_batch_rows = 256;          // sequences in one step
  int max_step_tokens = 512;         // token budget of one step (chunked prefill)
  int max_queued_requests = 1024;
  int64_t max_queued_tokens = int64_t{1} << 20;  // prompt tokens waiting
  bool prefix_cache = true;
  bool batch_invariant = true;
  absl::Duration priority_aging = absl::Seconds(5);  // waiting this long raises a request by one class
};

// Called on the engine's threads; must return quickly and must not call the engine's Stop. on_done is called exactly once for each accepted
// request, and nothing is called after it.
struct RequestCallbacks {
  std::function<void(const std::string& delta)> on_text;  // may be empty: no streaming
  std::function<void(absl::StatusOr<Result>)> on_done;
};

using RequestId = uint64_t;

// Runs the models: continuous batching at every step, chunked prefill, paged KV cache with prefix sharing, priorities, preemption.
// One thread owns models and cache; every public method is thread-safe.
//
//   auto engine = Engine::Create(std::move(catalog), options, &telemetry);
//   auto id = (*engine)->Submit(request, {on_text, on_done});   // validates, tokenises, enqueues
//   (*engine)->Cancel(*id);                                     // on_done(CANCELLED) within one step
//   (*engine)->Drain(absl::Seconds(30));
class Engine {
 public:
  // `telemetry` (may be null) must outlive the engine.
  static absl::StatusOr<std::unique_ptr<Engine>> Create(std::unique_ptr<Catalog> catalog,
                                                        const EngineOptions& options,
                                                        Telemetry* telemetry);
  // Cancels what is left.
  virtual ~Engine() = default;

  // Validates, tokenises (on the caller's thread) and enqueues. On error nothing is called back.
  // A document in pieces (TooLong::kChunk) is one request: one id, one on_done, one record of telemetry, in the queue's bounds as a whole.
  // INVALID_ARGUMENT, NOT_FOUND, RESOURCE_EXHAUSTED (queue full, or can never fit into memory), UNAVAILABLE (draining), DEADLINE_EXCEEDED (already past).
  virtual absl::StatusOr<RequestId> Submit(Request request, RequestCallbacks callbacks) = 0;

  // The request ends with CANCELLED within one step, unless it is done. Unknown ids are ignored.
  virtual void Cancel(RequestId id) = 0;

  // Refuses new requests from now on; waits until all accepted ones are done, at most `bound`, then ends the rest with UNAVAILABLE.
  virtual void Drain(absl::Duration bound) = 0;

  // What the device draws now, in watts; to be repeated a few times a second. From the first call on, requests are given their part of each step's energy
  // (Accounting::energy_joules). Without it their energy is not known.
  virtual void SetPower(double watts) { (void)watts; }

  virtual const Catalog& catalog() const = 0;

  struct Load {
    int running = 0;
    int waiting[kPriorities] = {};
    int64_t waiting_tokens = 0;
    int64_t kv_blocks_used = 0, kv_blocks_total = 0;
    double kv_utilization = 0;      // of kv_cache_bytes, by live requests
    absl::Duration queue_estimate;  // how long a new request would wait; for retry hints
  };
  virtual Load load() const = 0;
};

}  // namespace precis::runtime

#endif  // PRECIS_RUNTIME_ENGINE_H_
