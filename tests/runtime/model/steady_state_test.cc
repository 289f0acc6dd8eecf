// Memory: a step of a size seen before allocates nothing of its own, and a loaded model holds its weights once and none of its file.
#include <malloc.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <new>

#include "gtest/gtest.h"
#include "runtime/model/step_buffers.h"
#include "tests/runtime/model/runner_harness.h"
#include "tests/runtime/model/synthetic_model.h"

namespace {
std::atomic<int64_t> allocations = 0;

void* Allocate(size_t size) {
  ++allocations;
  if (void* memory = std::malloc(size == 0 ? 1 : size)) return memory;
  throw std::bad_alloc();
}
}  // namespace

void* operator new(size_t size) { return Allocate(size); }
void* operator new[](size_t size) { return Allocate(size); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, size_t) noexcept { std::free(memory); }

namespace precis::test {
namespace {

// Decode steps of sequences of both algorithms, one greedy, one with every sampling option.
class DecodeLoop {
 public:
  DecodeLoop(runtime::ModelRunner& runner, const std::vector<const char*>& variants)
      : runner_(runner), pages_(runner, 100, 1), tokens_(RandomTokens("steady", 300, 257)) {
    for (int i = 0; i < 4; ++i) tables_.push_back(pages_.Take(380));
    sampled_.temperature = 0.7f;
    sampled_.top_k = 50;
    sampled_.top_p = 0.9f;
    sampled_.repetition_penalty = 1.2f;
    sampled_.no_repeat_ngram_size = 3;
    sampled_.min_new_tokens = 1;
    const auto prompt = absl::MakeConstSpan(tokens_);
    greedy_context_ = {.options = &greedy_, .prompt = prompt, .generated = prompt.subspan(0, 40)};
    sampled_context_ = {.options = &sampled_, .prompt = prompt, .generated = prompt.subspan(0, 40), .end_of_text = 5};
    for (int i = 0; i < 4; ++i) {
      rows_.push_back({.tokens = prompt, .position = 0, .block_table = tables_[i].data(),
                       .variant = kernels::FindAttentionVariant(variants[i % variants.size()]),
                       .sampling = i < 2 ? &greedy_context_ : &sampled_context_});
    }
    outputs_.resize(rows_.size());
    Step();
    for (runtime::StepRow& row : rows_) {
      row.tokens = row.tokens.subspan(0, 1);
      row.position = 300;
    }
  }

  void Step() {
    ASSERT_TRUE(runner_.Step(rows_, pages_.memory(), true, absl::MakeSpan(outputs_), &stats_).ok());
  }

 private:
  runtime::ModelRunner& runner_;
  KvPages pages_;
  const std::vector<int32_t> tokens_;
  std::vector<std::vector<int32_t>> tables_;
  runtime::GenerationOptions greedy_, sampled_;
  runtime::SamplingContext greedy_context_, sampled_context_;
  std::vector<runtime::StepRow> rows_;
  std::vector<runtime::StepOutput> outputs_;
  runtime::StepStats stats_;
};

struct SteadyCase {
  bool alibi;
  int threads;
  std::vector<const char*> variants;
};

class SteadyState : public ::testing::TestWithParam<SteadyCase> {};

// Each thread has working memory of its own, and which thread takes which row is left to chance: so it is asked for fifty steps in a row.
TEST_P(SteadyState, DecodeStepsAllocateNothing) {
  const SteadyCase& c = GetParam();
  nlohmann::json changes = {{"n_positions", 400}};
  if (c.alibi) changes["alibi"] = true;
  runtime::LoadOptions options = TestOptions();
  options.threads = c.threads;
  const auto loaded = LoadSynthetic({.config = SmallConfig(changes)}, options);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  DecodeLoop loop(**loaded, c.variants);
  int quiet = 0;
  for (int i = 0; i < 1000 && quiet < 50; ++i) {
    const int64_t before = allocations;
    loop.Step();
    quiet = allocations == before ? quiet + 1 : 0;
  }
  EXPECT_EQ(quiet, 50);
}

INSTANTIATE_TEST_SUITE_P(Models, SteadyState,
                         ::testing::Values(SteadyCase{false, 1, {"flash", "standard"}}, SteadyCase{false, 2, {"flash", "standard"}},
                                           SteadyCase{true, 1, {"flash_alibi", "standard_alibi"}}));

TEST(GrowingBuffer, GrowsOnlyWhenItMust) {
  runtime::GrowingBuffer buffer;
  ASSERT_TRUE(buffer.Reserve(100, 1000));
  EXPECT_EQ(buffer.capacity(), 1024);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer.data()) % 64, 0u);
  char* const data = buffer.data();
  ASSERT_TRUE(buffer.Reserve(1024, 1024));
  EXPECT_EQ(buffer.data(), data);
  ASSERT_TRUE(buffer.Reserve(1025, 0));
  EXPECT_EQ(buffer.capacity(), 1088);
  EXPECT_FALSE(buffer.Reserve(int64_t{1} << 60, 0));
  EXPECT_EQ(buffer.capacity(), 0);
  EXPECT_TRUE(buffer.Reserve(64, 64));
}

TEST(GrowingBuffer, WorkspaceStaysInsideItsLimit) {
  runtime::StepBuffers buffers;
  ASSERT_TRUE(buffers.ReserveWorkspace(1000, 1200));
  EXPECT_LE(buffers.workspace.capacity(), 1216);
  ASSERT_TRUE(buffers.ReserveWorkspace(5000, 1200));  // one row may need more than the limit
  EXPECT_LE(buffers.workspace.capacity(), 5056);
}

// A field of /proc/self/status in bytes, or -1.
int64_t StatusBytes(const std::string& field) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind(field + ":", 0) == 0) return std::atoll(line.c_str() + field.size() + 1) * 1024;
  }
  return -1;
}

TEST(ResidentMemory, HoldsTheWeightsOnce) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "sanitizers keep freed memory";
#endif
  TempDir directory;
  WriteModel(directory.path(), {.config = SmallConfig({{"n_embd", 768}, {"n_head", 12}, {"n_layer", 2}, {"vocab_size", 8000}})});
  malloc_trim(0);
  const int64_t before = StatusBytes("VmRSS");
  if (before < 0) GTEST_SKIP() << "no /proc/self/status here";
  const auto runner = LoadFolder(directory.path(), TestOptions());
  ASSERT_TRUE(runner.ok()) << runner.status();
  const int64_t grown = StatusBytes("VmRSS") - before, weights = (*runner)->weights_bytes();
  EXPECT_GT(weights, int64_t{70} << 20);
  EXPECT_LT(grown, weights + (int64_t{8} << 20));
  // Nor was it ever resident twice: the file's pages are given back tensor by tensor.
  std::ofstream("/proc/self/clear_refs") << "5";  // resets the peak
  const auto again = LoadFolder(directory.path(), TestOptions());
  ASSERT_TRUE(again.ok());
  const int64_t largest_tensor = int64_t{8000} * 768 * 4;
  EXPECT_LT(StatusBytes("VmHWM") - before, 2 * weights + largest_tensor + (int64_t{16} << 20));
}

}  // namespace
}  // namespace precis::test
