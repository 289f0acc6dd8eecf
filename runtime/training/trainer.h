#ifndef PRECIS_RUNTIME_TRAINING_TRAINER_H_
#define PRECIS_RUNTIME_TRAINING_TRAINER_H_

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "kernels/train_device.h"
#include "runtime/training/batches.h"
#include "runtime/training/checkpoint.h"
#include "runtime/training/metrics.h"
#include "runtime/training/options.h"
#include "runtime/training/schedule.h"
#include "runtime/training/start.h"
#include "runtime/training/train_model.h"

namespace precis::runtime {

// One run of precis-finetune. Progress goes to stderr.
class Trainer {
 public:
  explicit Trainer(TrainOptions options) : options_(std::move(options)) {}

  // Trains to the last step, or until `stop` is set (a signal): then a checkpoint is written and the result is CANCELLED. Whatever fails, the last good
  // checkpoint is kept, and the error says where it is.
  absl::Status Run(const std::atomic<bool>& stop);

 private:
  absl::Status Prepare();
  absl::Status OpenDevice();
  absl::Status ReadData();
  absl::Status LoadNumbers();
  absl::Status Loop(const std::atomic<bool>& stop);
  absl::Status OneStep(Scalars* scalars);
  absl::Status Evaluate(Scalars* scalars);
  absl::Status WriteSamples();
  absl::StatusOr<std::string> Summarise(const std::vector<int32_t>& prompt);
  absl::Status Checkpoint(bool is_best);
  void ShowProgress(const Scalars& scalars) const;
  double MeasurePeak();
  bool Every(int64_t steps) const { return steps > 0 && state_.step % steps == 0; }
  absl::Status WithLastCheckpoint(const absl::Status& status) const;

  TrainOptions options_;
  TrainingStart start_;
  Documents documents_, held_out_;
  std::unique_ptr<kernels::TrainDevice> device_;
  std::unique_ptr<TrainModel> model_;
  std::unique_ptr<BatchesAhead> stream_;
  std::unique_ptr<CheckpointFolder> folder_;
  std::unique_ptr<MetricsFiles> metrics_;
  ScheduleOptions schedule_;
  BatchOptions batches_;
  TrainerState state_;
  double peak_flops_ = 0;
  double seconds_ = 0, flops_ = 0;  // since the last progress line
  int64_t tokens_ = 0, timed_steps_ = 0;
  int64_t written_step_ = -1;
};

}  // namespace precis::runtime

#endif  // PRECIS_RUNTIME_TRAINING_TRAINER_H_
