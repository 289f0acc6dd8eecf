#ifndef PRECIS_RUNTIME_MODEL_GPT2_WEIGHTS_H_
#define PRECIS_RUNTIME_MODEL_GPT2_WEIGHTS_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/ops.h"
#include "runtime/model/catalog.h"
#include "runtime/model/config_json.h"
#include "runtime/model/tensor_store.h"

namespace precis::runtime {

struct NormWeights {
  std::vector<float> gain, bias;  // [n_embd]
};

// y = x W + b
struct LinearWeights {
  std::unique_ptr<kernels::PackedMatrix> matrix;
  std::vector<float> bias;  // [out]
};

struct LayerWeights {
  NormWeights attention_norm, mlp_norm;
  LinearWeights qkv;          // n_embd -> 3 n_embd: queries, keys, values
  LinearWeights attention_out;  // n_embd -> n_embd
  LinearWeights mlp_in, mlp_out;  // n_embd -> n_inner -> n_embd
};

// A GPT-2 checkpoint, packed for the CPU.
struct Gpt2Weights {
  std::unique_ptr<kernels::PackedMatrix> head;  // [vocab_size] outputs
  std::unique_ptr<kernels::PackedMatrix> separate_embedding;  // null when tied: the head's rows are the embedding
  std::unique_ptr<kernels::PackedMatrix> positions;  // row p is position p's vector; null for ALiBi
  std::vector<LayerWeights> layers;
  NormWeights final_norm;
  kernels::DType dtype = kernels::DType::kF32;  // of the layers' matrices
  int64_t bytes = 0;       // all of the above
  int64_t parameters = 0;  // the checkpoint's numbers, without scales

  const kernels::PackedMatrix& embedding() const { return separate_embedding ? *separate_embedding : *head; }
};

// Checks every tensor against the config, then converts and packs it, and gives its file pages back to the system. INVALID_ARGUMENT
// names file and tensor: missing, of another shape, of a type that isn't F32, F16, BF16 or (2-D only, with "<name>.scale") I8, or
// unexpected. Nothing is allocated for a tensor before its shape has been found in the file.
absl::StatusOr<Gpt2Weights> LoadGpt2Weights(const TensorStore& store, const CheckpointConfig& config,
                                            const LoadOptions& options, kernels::ThreadPool& pool);

}  // namespace precis::runtime

#endif  // PRECIS_RUNTIME_MODEL_GPT2_WEIGHTS_H_
