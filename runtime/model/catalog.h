#ifndef PRECIS_RUNTIME_MODEL_CATALOG_H_
#define PRECIS_RUNTIME_MODEL_CATALOG_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "kernels/attention.h"
#include "runtime/model/model_runner.h"
#include "runtime/tokenizer.h"

namespace precis::runtime {

// --model=NAME=DIR
struct ModelSpec {
  std::string name;
  std::string directory;
};

struct LoadOptions {
  kernels::DType weights = kernels::DType::kF32;
  bool weights_auto = true;  // ignore `weights`: I8 checkpoints stay int8, BF16/F16 become bf16, F32 stays f32
  std::optional<kernels::DType> kv_cache;  // kF32 or kBf16; unset: as the weights, bf16 where those are int8. A GPU has its own choice
  kernels::CpuIsa isa = kernels::CpuIsa::kPortable;  // the caller passes BestCpuIsa() unless told otherwise
  int threads = 1;
  std::string device = "cpu";  // or cuda, cuda:N, simt, auto (cuda where there is one, else cpu)
  int alibi_context_tokens = 32768;  // context limit for ALiBi checkpoints
};

// A checkpoint in memory with its tokenizer and prompt template.
struct Checkpoint {
  std::string name;  // its folder's name
  std::unique_ptr<ModelRunner> runner;
  std::shared_ptr<const Tokenizer> tokenizer;
  std::string prompt_prefix;                // before the document
  std::string prompt_suffix = "\nTL;DR:";   // after it; precis.json names another
  std::vector<const kernels::AttentionVariant*> variants;  // that it serves
};

struct Model {
  std::string name;
  std::vector<std::unique_ptr<Checkpoint>> checkpoints;
  const kernels::AttentionVariant* default_variant = nullptr;  // flash where it is served, else flash_alibi
};

// The models by name. Immutable after loading.
class Catalog {
 public:
  // Loads all; fails whole, naming the model, the folder, the file and what is wrong. The same name repeated
  // adds checkpoints to a model; two checkpoints of one model that serve the same backend are refused.
  static absl::StatusOr<std::unique_ptr<Catalog>> Load(absl::Span<const ModelSpec> specs,
                                                       const LoadOptions& options);

  absl::Span<const std::unique_ptr<Model>> models() const { return models_; }

  struct Choice {
    const Model* model;
    Checkpoint* checkpoint;
    const kernels::AttentionVariant* variant;
    int checkpoint_index;  // in all_checkpoints()
  };
  // The checkpoint that serves a request. Empty model: the first that serves the backend; empty backend: the model's default.
  // NOT_FOUND: unknown model (lists those there are). INVALID_ARGUMENT: unknown backend (lists those there are), or no checkpoint of the model serves it.
  absl::StatusOr<Choice> Resolve(std::string_view model, std::string_view backend) const;

  absl::Span<Checkpoint* const> all_checkpoints() const { return all_; }

  // Why device auto became cpu; empty otherwise.
  const std::string& why_cpu() const { return why_cpu_; }

  // For tests: takes what was built by hand.
  explicit Catalog(std::vector<std::unique_ptr<Model>> models);

 private:
  std::vector<std::unique_ptr<Model>> models_;
  std::vector<Checkpoint*> all_;
  std::string why_cpu_;
};

}  // namespace precis::runtime

#endif  // PRECIS_RUNTIME_MODEL_CATALOG_H_
