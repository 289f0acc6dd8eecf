#ifndef PRECIS_TESTS_RUNTIME_MODEL_RUNNER_HARNESS_H_
#define PRECIS_TESTS_RUNTIME_MODEL_RUNNER_HARNESS_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/model/catalog.h"
#include "runtime/model/model_runner.h"
#include "tests/runtime/model/synthetic_model.h"

namespace precis::test {

// LoadOptions for the best instruction set here, two threads.
runtime::LoadOptions TestOptions();

// Writes and loads a model.
absl::StatusOr<std::unique_ptr<runtime::ModelRunner>> LoadSynthetic(const SyntheticModel& model,
                                                                    const runtime::LoadOptions& options);
absl::StatusOr<std::unique_ptr<runtime::ModelRunner>> LoadFolder(const std::string& directory,
                                                                 const runtime::LoadOptions& options);

// Pages of KV memory, filled with NaN, handed out in an order given by a seed.
class KvPages {
 public:
  KvPages(const runtime::ModelRunner& runner, int pages, uint64_t seed);
  runtime::KvMemory memory() { return {base_.get(), pages_}; }
  // A block table for so many tokens, of pages not handed out before.
  std::vector<int32_t> Take(int tokens);

 private:
  struct Free {
    void operator()(char* data) const { ::free(data); }
  };
  int64_t pages_;
  std::unique_ptr<char, Free> base_;
  std::vector<int32_t> free_;
};

// One sequence in the cache.
struct Sequence {
  const kernels::AttentionVariant* variant = nullptr;
  std::vector<int32_t> block_table = {};
  int length = 0;  // tokens run so far
};

// Runs `tokens` as the next ones of `sequence`, in one step of its own; the logits after the last.
std::vector<float> RunTokens(runtime::ModelRunner& runner, KvPages& pages, Sequence& sequence,
                             const std::vector<int32_t>& tokens);

std::vector<int32_t> RandomTokens(const std::string& seed, int count, int vocabulary);

}  // namespace precis::test

#endif  // PRECIS_TESTS_RUNTIME_MODEL_RUNNER_HARNESS_H_
