#ifndef PRECIS_RUNTIME_ENGINE_TOKEN_OUTCOME_H_
#define PRECIS_RUNTIME_ENGINE_TOKEN_OUTCOME_H_

#include <optional>
#include <string>

#include "absl/time/time.h"
#include "runtime/engine/step_executor.h"
#include "runtime/request.h"
#include "runtime/telemetry.h"

namespace precis::runtime {

// What a step's outcome means for its request.
struct TokenOutcome {
  bool keep = false;  // the token belongs to the summary's: all but the one that ends the text
  std::optional<FinishReason> finished;
  std::string delta;  // text that became certain
};

// Takes the token of a sampled row into the job (text, times) and tells telemetry. The sequence is unchanged.
TokenOutcome TakeToken(const ExecutedRow& row, absl::Time now, Telemetry* telemetry);

// The same for all rows of a beam search, which have logits: what goes on or is the summary is in job.beams. The text is all in the last delta. A step counts as a token.
TokenOutcome TakeBeams(absl::Span<const ExecutedRow> rows, absl::Time now, Telemetry* telemetry);

}  // namespace precis::runtime

#endif  // PRECIS_RUNTIME_ENGINE_TOKEN_OUTCOME_H_
