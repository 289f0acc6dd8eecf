#ifndef PRECIS_RUNTIME_TRAINING_PARAMETERS_H_
#define PRECIS_RUNTIME_TRAINING_PARAMETERS_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/model/config_json.h"
#include "runtime/model/tensor_store.h"

namespace precis::runtime {

// One tensor of the model within one flat array of floats. Linear weights lie [out][in] there, [in][out] in checkpoints (GPT-2's Conv1D).
struct Parameter {
  std::string name;  // without "transformer."
  int64_t rows = 0, columns = 0;  // in memory; a vector has one row
  bool transposed = false;  // the file has [columns][rows]
  bool matrix = false;      // two-dimensional: weight decay applies
  int64_t offset = 0;       // floats, a multiple of 64
  int64_t count() const { return rows * columns; }
};

// All parameters of a GPT-2-family model, matrices first. Gaps between them are zero and stay so.
class ParameterTable {
 public:
  explicit ParameterTable(const CheckpointConfig& config);

  const std::vector<Parameter>& all() const { return parameters_; }
  // The tensor must exist.
  const Parameter& Find(std::string_view name) const;
  int64_t total() const { return total_; }           // floats, gaps included
  int64_t matrices_end() const { return matrices_end_; }  // where the vectors begin
  int64_t parameter_count() const;                   // without gaps

 private:
  void Add(std::string name, int64_t rows, int64_t columns, bool transposed, bool matrix);

  std::vector<Parameter> parameters_;
  int64_t total_ = 0, matrices_end_ = 0;
};

// Weights of a new model: normal with deviation 0.02 (projections into the residual stream divided by sqrt(2 layers)), gains 1, biases 0. A function of the seed.
std::vector<float> InitialWeights(const ParameterTable& table, int layers, uint64_t seed);

// Reads a checkpoint's tensors (F32, F16, BF16; I8 with "<name>.scale"). INVALID_ARGUMENT names file and tensor. Tensors that `table` lacks are errors,
// except position embeddings when the model becomes an ALiBi one.
absl::StatusOr<std::vector<float>> ReadWeights(const TensorStore& store, const ParameterTable& table, bool drop_positions);

}  // namespace precis::runtime

#endif  // PRECIS_RUNTIME_TRAINING_PARAMETERS_H_
