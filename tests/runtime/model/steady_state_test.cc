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

TEST(SteadyState, StepsAllocateNothingButAttentionsTaskLists) {
  const auto loaded = LoadSynthetic({.config = SmallConfig({{"n_positions", 400}})}, TestOptions());
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  runtime::ModelRunner& runner = **loaded;
  KvPages pages(runner, 100, 1);
  const runtime::GenerationOptions greedy;
  const runtime::SamplingContext context{.options = &greedy};
  const std::vector<int32_t> tokens = RandomTokens("steady", 300, 257);
  std::vector<std::vector<int32_t>> tables;
  std::vector<runtime::StepRow> rows;
  for (int i = 0; i < 4; ++i) {
    tables.push_back(pages.Take(380));
    const char* variant = i % 2 == 0 ? "flash" : "standard";
    rows.push_back({.tokens = absl::MakeConstSpan(tokens).subspan(0, i == 0 ? 300 : 1), .position = i == 0 ? 0 : 300,
                    .block_table = tables[i].data(), .variant = kernels::FindAttentionVariant(variant),
                    .sampling = &context});
  }
  std::vector<runtime::StepOutput> outputs(rows.size());
  runtime::StepStats stats;
  ASSERT_TRUE(runner.Step(rows, pages.memory(), true, absl::MakeSpan(outputs), &stats).ok());
  rows[0].tokens = rows[0].tokens.subspan(0, 1);
  rows[0].position = 300;
  ASSERT_TRUE(runner.Step(rows, pages.memory(), true, absl::MakeSpan(outputs), &stats).ok());
  const int64_t before = allocations;
  ASSERT_TRUE(runner.Step(rows, pages.memory(), true, absl::MakeSpan(outputs), &stats).ok());
  // Two layers, two variants: RunAttention makes one list of its tasks each.
  EXPECT_LE(allocations - before, 2 * 2);
}

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
