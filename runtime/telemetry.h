#ifndef PRECIS_RUNTIME_TELEMETRY_H_
#define PRECIS_RUNTIME_TELEMETRY_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "runtime/request.h"

namespace precis::runtime {

// Labels that every event of a request carries. Views are valid during the call only.
struct RequestLabels {
  std::string_view model;
  std::string_view attention_backend;
  std::string_view device;  // "cpu"
  std::string_view experiment = "none";
  std::string_view arm = "none";
};

enum class Phase : uint8_t { kPrefill, kDecode };

// Why Submit refused, or a queued request was dropped.
enum class RejectReason : uint8_t { kQueueFull, kQueueTokens, kDeadline, kDraining, kMemory };
std::string_view RejectReasonName(RejectReason reason);

struct StepEvent {
  absl::Duration duration;
  int prefill_rows = 0, decode_rows = 0;      // sequences
  int prefill_tokens = 0, decode_tokens = 0;  // tokens run
  bool mixed = false;                         // rows of more than one backend
  // Attention's part, per variant that ran (name, phase of most rows, seconds); filled on sampled steps only.
  struct AttentionTime {
    std::string_view attention_backend;
    std::string_view model;
    Phase phase;
    absl::Duration duration;
    int64_t workspace_bytes;
  };
  const AttentionTime* attention = nullptr;
  int attention_count = 0;
};

struct GaugeSnapshot {
  int running = 0;
  int waiting[kPriorities] = {};
  int64_t kv_blocks_used = 0, kv_blocks_total = 0;
  int64_t kv_bytes_used = 0, kv_bytes_peak = 0;
  int64_t weights_bytes = 0;
  int64_t host_pinned_bytes = 0;  // host memory that a GPU copies from and to
  int64_t activations_bytes = 0, activations_bytes_peak = 0;
  int64_t attention_workspace_bytes = 0, attention_workspace_bytes_peak = 0;
  // The part of each model and backend in the numbers above, where it is known; the rest is shown as not attributed.
  struct Share {
    std::string_view model;
    std::string_view attention_backend;
    int running = 0;
    int waiting[kPriorities] = {};
    int64_t kv_bytes = 0;  // held by its requests
  };
  const Share* shares = nullptr;
  int share_count = 0;
};

// What the engine tells the world; implemented by the server over Prometheus. Methods are called from the engine's threads and from
// Submit's callers, concurrently; they must be thread-safe and quick.
class Telemetry {
 public:
  virtual ~Telemetry() = default;
  virtual void OnRejected(const RequestLabels&, RejectReason) {}
  virtual void OnScheduled(const RequestLabels&, absl::Duration queue) {}
  // `cached_tokens` of `prompt_tokens` came from the prefix cache.
  virtual void OnPrefixCache(const RequestLabels&, int prompt_tokens, int cached_tokens) {}
  virtual void OnFirstToken(const RequestLabels&, absl::Duration time_to_first_token, absl::Duration prefill) {}
  virtual void OnToken(const RequestLabels&, absl::Duration since_previous) {}
  // Once for each accepted request. `finish_reason` is empty unless status is OK.
  virtual void OnFinished(const RequestLabels&, const absl::Status& status, std::string_view finish_reason,
                          const Accounting&) {}
  // stage: "queued", "prefill" or "decode"; latency: from Cancel (or the deadline) until its blocks were free.
  virtual void OnCancelled(const RequestLabels&, std::string_view stage, absl::Duration latency) {}
  virtual void OnPreempted(const RequestLabels&) {}
  virtual void OnStep(const StepEvent&) {}
  // After every step and every change of the queue (coalesced).
  virtual void OnGauges(const GaugeSnapshot&) {}
};

}  // namespace precis::runtime

#endif  // PRECIS_RUNTIME_TELEMETRY_H_
