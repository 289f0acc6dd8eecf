#ifndef PRECIS_RUNTIME_ENGINE_JOB_H_
#define PRECIS_RUNTIME_ENGINE_JOB_H_

#include <memory>
#include <optional>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "runtime/engine.h"
#include "runtime/engine/text_assembler.h"
#include "runtime/model/catalog.h"
#include "runtime/sampling/beam_search.h"
#include "runtime/scheduler/sequence.h"

namespace precis::runtime {

// Id of the token that ends a text; -1 if the checkpoint has none.
int32_t EndOfText(const Checkpoint& checkpoint);

// What the engine keeps of an accepted request besides its sequence.
struct Job {
  Job(const Catalog::Choice& choice, GenerationOptions options_in, ArmLabels arm_in, RequestCallbacks callbacks_in)
      : choice(choice),
        options(std::move(options_in)),
        arm(std::move(arm_in)),
        callbacks(std::make_shared<const RequestCallbacks>(std::move(callbacks_in))),
        text(*choice.checkpoint->tokenizer, options) {
    if (options.num_beams > 1) beams.emplace(options, EndOfText(*choice.checkpoint));
  }

  RequestLabels labels() const {
    return {choice.model->name, choice.variant->name, choice.checkpoint->runner->device(), arm.experiment,
            arm.arm};
  }

  const Catalog::Choice choice;
  const GenerationOptions options;
  const ArmLabels arm;
  const std::shared_ptr<const RequestCallbacks> callbacks;
  TextAssembler text;
  std::optional<BeamSearch> beams;
  int truncated_tokens = 0;
  bool piece = false;  // of a ChunkedRequest
  absl::Time first_token = absl::InfiniteFuture();
  absl::Time last_token;
  int64_t workspace_peak_bytes = 0;
  std::optional<double> energy_joules;
  // Set when the engine ends it: what it is answered with instead of CANCELLED.
  absl::Status abort;
};

// What `sequence`, which ends at `now`, has cost.
Accounting AccountingOf(const Job& job, const Sequence& sequence, int64_t page_bytes, absl::Time now);
// The answer to a request that came to its end.
Result ResultOf(const Job& job, const Sequence& sequence, FinishReason reason, const Accounting& accounting);
// Why a request that was cut short ended, by its own flags: CANCELLED, DEADLINE_EXCEEDED, or job.abort.
absl::Status CutShortStatus(const Job& job, const Sequence& sequence, absl::Time now);
// "queued", "prefill" or "decode".
std::string_view StageOf(const Job& job, const Sequence& sequence);

}  // namespace precis::runtime

#endif  // PRECIS_RUNTIME_ENGINE_JOB_H_
