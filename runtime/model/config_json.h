#ifndef PRECIS_RUNTIME_MODEL_CONFIG_JSON_H_
#define PRECIS_RUNTIME_MODEL_CONFIG_JSON_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "kernels/ops.h"
#include "runtime/model/model_runner.h"

namespace precis::runtime {

inline constexpr int64_t kMaxConfigBytes = int64_t{1} << 20;

// What config.json says.
struct CheckpointConfig {
  ModelConfig model;
  kernels::Activation activation = kernels::Activation::kGeluTanh;
  bool tie_word_embeddings = true;
};

// Reads a Hugging Face GPT-2 config.json. Sizes must be given and in range; options that would change what the model
// computes and that aren't supported are refused by name; options of training and generation are ignored; options that
// are unknown are refused by name unless they are null, false or empty. Errors start with `file_name`.
absl::StatusOr<CheckpointConfig> ParseConfig(std::string_view json, std::string_view file_name);

// How a folder wants to be served.
struct FolderOptions {
  std::string prefix;                // before the document
  std::string suffix = "\nTL;DR:";   // after it
  int context_tokens = 0;            // a limit below the model's own (learned positions) or the server's (ALiBi); 0: none
};

// Reads precis.json: {"prompt_prefix": text, "prompt_suffix": text, "context_tokens": integer}, all optional; unknown keys are errors.
absl::StatusOr<FolderOptions> ParseFolderOptions(std::string_view json, std::string_view file_name);

}  // namespace precis::runtime

#endif  // PRECIS_RUNTIME_MODEL_CONFIG_JSON_H_
