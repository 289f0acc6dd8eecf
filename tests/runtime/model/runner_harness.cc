#include "tests/runtime/model/runner_harness.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <random>

#include "gtest/gtest.h"
#include "runtime/model/cpu_runner.h"

namespace precis::test {

runtime::LoadOptions TestOptions() {
  runtime::LoadOptions options;
  options.isa = kernels::BestCpuIsa();
  options.threads = 2;
  return options;
}

absl::StatusOr<std::unique_ptr<runtime::ModelRunner>> LoadFolder(const std::string& directory,
                                                                 const runtime::LoadOptions& options) {
  return runtime::LoadCpuRunner(directory, options, 0, std::make_shared<kernels::ThreadPool>(options.threads));
}

absl::StatusOr<std::unique_ptr<runtime::ModelRunner>> LoadSynthetic(const SyntheticModel& model,
                                                                    const runtime::LoadOptions& options) {
  TempDir directory;
  WriteModel(directory.path(), model);
  return LoadFolder(directory.path(), options);
}

KvPages::KvPages(const runtime::ModelRunner& runner, int pages, uint64_t seed) : pages_(pages) {
  const int64_t bytes = pages * runner.page_bytes();
  base_.reset(static_cast<char*>(std::aligned_alloc(64, bytes)));
  std::memset(base_.get(), 0xff, bytes);  // NaN in f32 and in bf16
  for (int i = 0; i < pages; ++i) free_.push_back(i);
  std::shuffle(free_.begin(), free_.end(), std::mt19937_64(seed));
}

std::vector<int32_t> KvPages::Take(int tokens) {
  const int count = (tokens + kernels::kPageTokens - 1) / kernels::kPageTokens;
  EXPECT_LE(count, static_cast<int>(free_.size()));
  std::vector<int32_t> table(free_.end() - count, free_.end());
  free_.resize(free_.size() - count);
  return table;
}

std::vector<float> RunTokens(runtime::ModelRunner& runner, KvPages& pages, Sequence& sequence,
                             const std::vector<int32_t>& tokens) {
  std::vector<float> logits(runner.config().vocab_size);
  const runtime::StepRow row{.tokens = tokens, .position = sequence.length, .block_table = sequence.block_table.data(),
                             .variant = sequence.variant, .logits = logits.data()};
  runtime::StepOutput output;
  const absl::Status status = runner.Step({&row, 1}, pages.memory(), false, {&output, 1}, nullptr);
  EXPECT_TRUE(status.ok()) << status;
  sequence.length += static_cast<int>(tokens.size());
  return logits;
}

std::vector<int32_t> RandomTokens(const std::string& seed, int count, int vocabulary) {
  std::vector<int32_t> tokens;
  for (int i = 0; i < count; ++i) tokens.push_back(static_cast<int32_t>((SyntheticHash(seed, i) >> 20) % vocabulary));
  return tokens;
}

}  // namespace precis::test
