#ifndef PRECIS_RUNTIME_TRAINING_OPTIONS_H_
#define PRECIS_RUNTIME_TRAINING_OPTIONS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace precis::runtime {

// precis-finetune's command line; --help says what each means.
struct TrainOptions {
  std::string model, new_model, tokenizer, out;
  int train_tokenizer = 0;
  std::string python = "python3";
  std::vector<std::string> data, eval_data;
  bool skip_bad_rows = false;
  std::string positions;  // "", "alibi", "learned"
  int length = 0;         // 0: n_positions, at most 1024
  int summary_tokens = 0;  // 0: an eighth of length
  double document_weight = 1, summary_weight = 1;

  std::string device = "cpu", dtype = "f32", save_dtype = "f32", attention = "flash", recompute = "selective";
  int threads = 0;  // 0: all cores
  double peak_tflops = 0;

  int64_t max_steps = 1000;
  int batch_tokens = 4096, accumulate = 1;
  double rate = 3e-4, final_rate = -1;  // -1: a tenth of rate
  int64_t warmup = -1, cooldown = -1;   // -1: a twentieth and a fifth of max_steps
  std::string schedule = "cosine";
  double beta1 = 0.9, beta2 = 0.95, epsilon = 1e-8, weight_decay = 0.1, clip = 1, dropout = 0.1;
  uint64_t seed = 1;
  int64_t shard_documents = 4096;

  int64_t checkpoint_every = 200, eval_every = 200, sample_every = 0, log_every = 10;
  int samples = 2, patience = 0, keep = 2;
  bool resume = false;
  std::string metrics_listen;  // host:port, or empty
};

// Parses and checks. The usage text, and nothing to do, with --help: OK and `*help` set. Errors name the flag, what was given and what is allowed.
absl::StatusOr<TrainOptions> ParseTrainOptions(int argc, const char* const* argv, std::string* help);

// What a resumed run must have in common, as JSON: all that the loss curve depends on.
std::string OptionsInCommon(const TrainOptions& options, uint64_t data_fingerprint);
// OK, or an error that names the options that differ.
absl::Status CompareOptions(const std::string& then, const std::string& now);

}  // namespace precis::runtime

#endif  // PRECIS_RUNTIME_TRAINING_OPTIONS_H_
