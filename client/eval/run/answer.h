#ifndef PRECIS_CLIENT_EVAL_RUN_ANSWER_H_
#define PRECIS_CLIENT_EVAL_RUN_ANSWER_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "client/cli/json.h"

namespace precis::eval {

using Json = cli::Json;

// What came back for one document and one backend. Seconds.
struct Answer {
  int64_t document = 0;  // index in the run's documents
  std::string backend;
  std::string error;     // "CODE: message", or empty
  std::string summary, finish_reason, model, checkpoint;
  Json accounting;       // precis.v1.Accounting by its fields' names
  double client_seconds = 0;              // from the moment it was meant to be sent to the last byte
  double client_first_token_seconds = 0;  // to the first piece of text
  bool cached = false;   // from the answer cache: counts for quality, not for efficiency
  std::string phase = "documents";  // or "lengths": of the sweep over document lengths

  bool ok() const { return error.empty(); }
  double Cost(const char* field) const;  // of the accounting; 0 if it isn't there
};

Json AnswerToJson(const Answer& answer);
absl::StatusOr<Answer> AnswerFromJson(const Json& json);

}  // namespace precis::eval

#endif  // PRECIS_CLIENT_EVAL_RUN_ANSWER_H_
