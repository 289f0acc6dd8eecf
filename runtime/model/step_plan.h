#ifndef PRECIS_RUNTIME_MODEL_STEP_PLAN_H_
#define PRECIS_RUNTIME_MODEL_STEP_PLAN_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "kernels/attention.h"
#include "runtime/model/model_runner.h"

namespace precis::runtime {

// One step laid out: all rows' tokens one after the other, the sequences of each attention variant, the rows that want logits.
// Kept between steps, so that a step of a size seen before allocates nothing.
struct StepPlan {
  struct Group {
    const kernels::AttentionVariant* variant;
    std::vector<kernels::AttentionSequence> sequences;
    absl::Duration time;
    int64_t workspace_bytes = 0;
  };
  std::vector<Group> groups;       // one for each variant there is; empty ones have no sequences
  std::vector<int32_t> tokens;     // [tokens]
  std::vector<int32_t> positions;  // [tokens]
  std::vector<int64_t> slots;      // [tokens]: where its key and value go
  std::vector<int> logit_rows;     // indices of rows that sample or want logits
  std::vector<int> last_token;     // [rows]: index of the row's last token in `tokens`

  StepPlan();

  struct Limits {
    int vocab_size;
    int context_tokens;
    int64_t pages;
    kernels::Positions positions;
  };
  // INTERNAL, naming the row, if a row can't be run.
  absl::Status Build(absl::Span<const StepRow> rows, const Limits& limits);

  // Bytes of the vectors above for so many tokens.
  static int64_t BytesPerToken();

 private:
  absl::Status Add(const StepRow& row, const Limits& limits);
  void Clear();
};

}  // namespace precis::runtime

#endif  // PRECIS_RUNTIME_MODEL_STEP_PLAN_H_
