#ifndef PRECIS_RUNTIME_ENGINE_TOKEN_OUTCOME_H_
#define PRECIS_RUNTIME_ENGINE_TOKEN_OUTCOME_H_

#include <optional>
#include <string>

#include "absl/time/time.h"
#include "runtime/engine/step_executor.h"
#include "runtime/request.h"
#include "runtime/telemetry.h"

namespace precis::runtime {

// What a sampled token means for its request.
struct TokenOutcome {
  bool keep = false;  // it belongs to the summary's tokens: all but the one that ends the text
  std::optional<FinishReason> finished;
  std::string delta;  // text that became certain
};

// Takes the token of a sampled row into the job (text, times) and tells telemetry. The sequence is unchanged.
TokenOutcome TakeToken(const ExecutedRow& row, absl::Time now, Telemetry* telemetry);

}  // namespace precis::runtime

#endif  // PRECIS_RUNTIME_ENGINE_TOKEN_OUTCOME_H_
