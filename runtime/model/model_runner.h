#ifndef PRECIS_RUNTIME_MODEL_MODEL_RUNNER_H_
#define PRECIS_RUNTIME_MODEL_MODEL_RUNNER_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "kernels/attention.h"
#include "runtime/sampling/sampler.h"

namespace precis::runtime {

// The shape of a GPT-2-family model; names as in config.json.
struct ModelConfig {
  int n_layer = 0;
  int n_head = 0;
  int n_embd = 0;
  int n_inner = 0;
  int n_positions = 0;  // trained length
  int vocab_size = 0;
  float layer_norm_epsilon = 1e-5f;
  std::string activation_function = "gelu_new";
  bool alibi = false;
  bool scale_attn_weights = true;
  bool scale_attn_by_inverse_layer_idx = false;
  int eos_token_id = -1;
  int head_dim() const { return n_embd / n_head; }
};

// Consecutive tokens of one sequence that a step runs.
struct StepRow {
  absl::Span<const int32_t> tokens;   // at positions position .. position + tokens.size() - 1
  int position = 0;
  const int32_t* block_table = nullptr;  // covers position + tokens.size()
  const kernels::AttentionVariant* variant = nullptr;
  // If set: choose the next token after the last of `tokens`. The context is read only during the call.
  const SamplingContext* sampling = nullptr;
  // If set: receives vocab_size logits of the last token (tests, evaluation).
  float* logits = nullptr;
  // These tokens were generated: before a preemption, and are run again, or by a beam. A device whose prefill and decode differ in bits runs them as
  // decode, as it does the one token of a row with `sampling` that has generated some.
  bool replay = false;
  // If not negative: the row runs one token, which row `after` of the step launched last chooses; `tokens` holds any valid token in its place.
  int after = -1;
};

struct StepOutput {
  int32_t token = -1;  // where sampling was asked for
};

struct VariantStats {
  const kernels::AttentionVariant* variant;
  absl::Duration attention_time;  // zero unless timed; a device may time fewer steps than it is asked to
  int64_t workspace_bytes;
};

struct StepStats {
  std::vector<VariantStats> variants;
  int64_t activations_bytes = 0;
};

// The paged KV memory of one checkpoint: `pages` pages of page_bytes() from `base`, owned by the engine's cache.
struct KvMemory {
  char* base = nullptr;
  int64_t pages = 0;
};

// Runs one checkpoint on one device. Not thread-safe: owned by the engine thread, but config(), page_bytes() and weights_bytes() never change.
class ModelRunner {
 public:
  virtual ~ModelRunner() = default;
  virtual const ModelConfig& config() const = 0;
  virtual std::string_view device() const = 0;          // "cpu"
  virtual kernels::DType weights_dtype() const = 0;
  virtual int context_tokens() const = 0;  // n_positions, or the server's limit for ALiBi
  virtual int64_t weights_bytes() const = 0;
  virtual int64_t host_pinned_bytes() const { return 0; }      // host memory that the device copies from and to; known once Reserve returned
  virtual std::string_view gpu_uuid() const { return ""; }     // as NVML names the GPU; empty where there is none
  virtual int64_t parameters() const = 0;
  // Bytes of one page: keys and values of all layers, kPageTokens tokens. A multiple of 64.
  virtual int64_t page_bytes() const = 0;
  // An upper bound of the activations that a step of `tokens` tokens and `sampled` sampled rows needs.
  virtual int64_t ActivationBytes(int tokens, int sampled) const = 0;
  // Before the first Step.
  virtual void SetLimits(int64_t attention_workspace_bytes) = 0;
  // Before Reserve. Off: a row's bits may depend on the rows beside it where that is faster. On until told otherwise.
  virtual void SetBatchInvariant(bool on) { (void)on; }

  // Before the first Step, after SetLimits: takes all memory that steps of up to `step_tokens` tokens will need. A runner whose pages lie in its device's
  // memory returns them; one that reads the engine's memory returns no base, and the engine supplies the pages. RESOURCE_EXHAUSTED says what didn't fit.
  virtual absl::StatusOr<KvMemory> Reserve(int64_t pages, int step_tokens) {
    (void)pages, (void)step_tokens;
    return KvMemory();
  }

  // Runs the rows in one forward pass: writes their keys and values into the pages, then samples. outputs[i] belongs to rows[i]. Rows of different variants share
  // every matrix product; they are partitioned only inside attention. Bits of each row as RunAttention promises: independent of the others.
  // `timed` asks for attention times. INTERNAL only.
  virtual absl::Status Step(absl::Span<const StepRow> rows, const KvMemory& memory, bool timed,
                            absl::Span<StepOutput> outputs, StepStats* stats) = 0;

  // A step in two halves, where launches() says so. Launch enqueues what Step would run; Collect waits for the earliest step that was launched and not
  // collected. At most two are under way, and Step is not called meanwhile. Launch reads its arguments during the call only. INTERNAL only; a Launch that fails
  // leaves nothing to collect.
  virtual bool launches() const { return false; }
  virtual absl::Status Launch(absl::Span<const StepRow> rows, const KvMemory& memory, bool timed) {
    (void)rows, (void)memory, (void)timed;
    return absl::InternalError("this device runs whole steps only");
  }
  virtual absl::Status Collect(absl::Span<StepOutput> outputs, StepStats* stats) {
    (void)outputs, (void)stats;
    return absl::InternalError("this device runs whole steps only");
  }
  // Whether the rows of another step may come `after` those of the step launched last: its tokens stay on the device for it.
  virtual bool followable() const { return false; }

  // Copies page `from` to page `to` (copy-on-write). Before steps that are launched later, after those launched earlier.
  virtual void CopyPage(const KvMemory& memory, int32_t from, int32_t to) = 0;
};

}  // namespace precis::runtime

#endif  // PRECIS_RUNTIME_MODEL_MODEL_RUNNER_H_
