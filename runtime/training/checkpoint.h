#ifndef PRECIS_RUNTIME_TRAINING_CHECKPOINT_H_
#define PRECIS_RUNTIME_TRAINING_CHECKPOINT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"
#include "runtime/training/batches.h"
#include "runtime/training/parameters.h"

namespace precis::runtime {

// Where a run is, beside the numbers. Everything else that a run does is a function of this and its options.
struct TrainerState {
  int64_t step = 0;
  DataPosition position;
  int64_t batches = 0;  // seen: numbers the dropout masks
  int64_t tokens = 0;
  double best_evaluation = 0;
  int64_t best_step = -1;  // -1: not evaluated yet
  int64_t evaluations_without_gain = 0;
  std::string options;  // what a resumed run must have in common
};

struct CheckpointNumbers {
  std::vector<float> weights, first, second;  // [table.total()]
};

// Folder of a run:
//   checkpoints/step-00000200/   config.json, model.safetensors, the tokenizer's files, precis.json: a Hugging Face folder that the server loads;
//                                optimizer.safetensors, trainer_state.json: what --resume needs
//   last, best                   links to one of them, replaced in one step
// A checkpoint is written under a name of its own, synced, and renamed: whatever happens, each checkpoint that is there is whole.
class CheckpointFolder {
 public:
  // `files` (name, content) go into each checkpoint beside the numbers.
  CheckpointFolder(std::string out, std::vector<std::pair<std::string, std::string>> files, bool save_bf16)
      : out_(std::move(out)), files_(std::move(files)), save_bf16_(save_bf16) {}

  // Writes the checkpoint and points `last` (and `best`) at it, then removes all but the newest `keep` and the best. A failure leaves everything as it was.
  absl::Status Write(const ParameterTable& table, const CheckpointNumbers& numbers, const TrainerState& state, bool is_best, int keep);
  // The folder `last` points to; "" if there is none.
  std::string LastFolder() const;
  absl::StatusOr<TrainerState> ReadState() const;
  absl::StatusOr<CheckpointNumbers> ReadNumbers(const ParameterTable& table) const;

 private:
  absl::Status WriteInto(const std::string& folder, const ParameterTable& table, const CheckpointNumbers& numbers, const TrainerState& state) const;
  void RemoveOld(int keep) const;

  const std::string out_;
  const std::vector<std::pair<std::string, std::string>> files_;
  const bool save_bf16_;
};

nlohmann::json ToJson(const TrainerState& state);
absl::StatusOr<TrainerState> ParseTrainerState(std::string_view json, std::string_view file_name);

}  // namespace precis::runtime

#endif  // PRECIS_RUNTIME_TRAINING_CHECKPOINT_H_
