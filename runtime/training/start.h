#ifndef PRECIS_RUNTIME_TRAINING_START_H_
#define PRECIS_RUNTIME_TRAINING_START_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/model/config_json.h"
#include "runtime/tokenizer.h"
#include "runtime/training/documents.h"
#include "runtime/training/options.h"

namespace precis::runtime {

// What a run begins with.
struct TrainingStart {
  CheckpointConfig config;        // of the result: with ALiBi, if asked for
  bool drop_positions = false;    // the checkpoint has learned positions, the result has not
  std::shared_ptr<const Tokenizer> tokenizer;
  FolderOptions prompt;
  int length = 0, summary_tokens = 0;
  std::vector<std::pair<std::string, std::string>> files;  // of each checkpoint: config.json, the tokenizer's, precis.json
};

// Reads the folder (or the new model's config.json), finds or trains the tokenizer. Errors name the file and what is wrong with it: a tokenizer with more
// tokens than the model among them.
absl::StatusOr<TrainingStart> ReadStart(const TrainOptions& options);

}  // namespace precis::runtime

#endif  // PRECIS_RUNTIME_TRAINING_START_H_
