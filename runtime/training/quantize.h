#ifndef PRECIS_RUNTIME_TRAINING_QUANTIZE_H_
#define PRECIS_RUNTIME_TRAINING_QUANTIZE_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/training/parameters.h"
#include "runtime/training/safetensors_writer.h"

namespace precis::runtime {

struct QuantizeResult {
  int64_t bytes = 0;         // of model.safetensors
  double relative_error = 0;  // norm of the matrices' rounding errors to the norm of the matrices
};

// Matrices as I8 with "<name>.scale", one F32 number an output channel (largest magnitude / 127), rounded to nearest; vectors stay F32. `error` receives
// QuantizeResult::relative_error. `values` is [table.total()] and outlives the result.
std::vector<TensorToWrite> Int8Tensors(const ParameterTable& table, const std::vector<float>& values, double* error);

// Writes the checkpoint `from` (F32, F16, BF16) as an int8 checkpoint `to`, which must not exist: config, tokenizer and precis.json are copied. All or nothing.
absl::StatusOr<QuantizeResult> QuantizeCheckpoint(const std::string& from, const std::string& to);

}  // namespace precis::runtime

#endif  // PRECIS_RUNTIME_TRAINING_QUANTIZE_H_
