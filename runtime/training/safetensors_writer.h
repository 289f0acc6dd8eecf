#ifndef PRECIS_RUNTIME_TRAINING_SAFETENSORS_WRITER_H_
#define PRECIS_RUNTIME_TRAINING_SAFETENSORS_WRITER_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "runtime/training/parameters.h"

namespace precis::runtime {

struct TensorToWrite {
  std::string name;
  std::string dtype;  // "F32", "BF16", "I8"
  std::vector<int64_t> shape;
  int64_t bytes = 0;
  std::function<std::string()> data;  // called once, in order
};

// A safetensors file with the metadata that transformers asks for ({"format": "pt"}). Synced.
absl::Status WriteSafetensors(const std::string& path, const std::vector<TensorToWrite>& tensors);

// The tensors of a checkpoint in Hugging Face form. `values` is [table.total()] and outlives the result.
std::vector<TensorToWrite> CheckpointTensors(const ParameterTable& table, const std::vector<float>& values, bool bf16);
// The same in memory order under the names "<prefix><name>", always F32: optimiser state.
std::vector<TensorToWrite> StateTensors(const ParameterTable& table, const std::vector<float>& values, const std::string& prefix);

}  // namespace precis::runtime

#endif  // PRECIS_RUNTIME_TRAINING_SAFETENSORS_WRITER_H_
