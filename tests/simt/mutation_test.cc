// Plants a bug in a kernel and runs it, in a process of its own, over seeds: each bug must be caught in one of them at least (a report of the emulator, a wrong
// result, a fault, or a sanitizer), and the kernels without a bug must pass them all.

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tests/simt/mutants.h"

namespace precis::kernels::simt {
namespace {

constexpr int kSeeds = 12;

// Device memory of an exact size: a page that may not be touched follows.
template <class T>
class Guarded {
 public:
  explicit Guarded(size_t size) : size_(size) {
    const size_t bytes = size * sizeof(T), pages = (bytes + 4095) / 4096 * 4096;
    char* memory = static_cast<char*>(mmap(nullptr, pages + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    mprotect(memory + pages, 4096, PROT_NONE);
    data_ = reinterpret_cast<T*>(memory + pages - bytes);
  }
  T* get() { return data_; }
  size_t size() const { return size_; }
  T& operator[](size_t i) { return data_[i]; }

 private:
  size_t size_;
  T* data_;
};

// Whole numbers from -4 to 4: every sum is exact.
float Small(std::mt19937& random) { return static_cast<float>(static_cast<int>(random() % 9) - 4); }

bool ReduceIsRight(int bug) {
  std::mt19937 random(7);
  constexpr int kN = 300, kBlocks = 3;
  Guarded<float> values(kN * kBlocks), out(kBlocks);
  for (size_t i = 0; i < values.size(); ++i) values[i] = Small(random);
  Launch(Reduce, {.grid = {kBlocks}, .block = {kReduceThreads}, .shared_bytes = 16, .stream = {}}, values.get(), out.get(), kN, bug);
  for (int block = 0; block < kBlocks; ++block) {
    float sum = 0;
    for (int i = 0; i < kN; ++i) sum += values[static_cast<size_t>(block * kN + i)];
    if (!(out[static_cast<size_t>(block)] == sum)) return false;
  }
  return true;
}

bool GemmIsRight(int bug) {
  std::mt19937 random(8);
  constexpr int kK = 96;
  Guarded<Bf16> a(kGemmRows * kK), b(kK * kGemmColumns);
  Guarded<float> c(kGemmRows * kGemmColumns);
  for (size_t i = 0; i < a.size(); ++i) a[i] = ToBf16(Small(random));
  for (size_t i = 0; i < b.size(); ++i) b[i] = ToBf16(Small(random));
  Launch(CopyGemm, {.grid = {1}, .block = {kGemmThreads}, .shared_bytes = kGemmShared, .stream = {}}, a.get(), b.get(), c.get(), kK, bug);
  for (int row = 0; row < kGemmRows; ++row) {
    for (int column = 0; column < kGemmColumns; ++column) {
      float sum = 0;
      for (int k = 0; k < kK; ++k) sum += ToFloat(a[static_cast<size_t>(row * kK + k)]) * ToFloat(b[static_cast<size_t>(k * kGemmColumns + column)]);
      if (!(c[static_cast<size_t>(row * kGemmColumns + column)] == sum)) return false;
    }
  }
  return true;
}

TensorMap MapOf(Bf16* base, int columns) {
  TensorMapSpec spec;
  spec.base = base;
  spec.rank = 2;
  spec.dims[0] = static_cast<uint64_t>(columns);
  spec.dims[1] = 64;
  spec.strides[0] = 2;
  spec.strides[1] = static_cast<uint64_t>(columns) * 2;
  spec.box[0] = spec.box[1] = 64;
  spec.swizzle = Swizzle::k128;
  TensorMap map;
  EXPECT_TRUE(MakeTensorMap(spec, &map));
  return map;
}

bool PipelineIsRight(int bug) {
  std::mt19937 random(9);
  constexpr int kSteps = 5, kK = kSteps * 64;
  Guarded<Bf16> a(64 * kK), b(64 * kK), c(64 * 64);
  for (size_t i = 0; i < a.size(); ++i) a[i] = ToBf16(Small(random));
  for (size_t i = 0; i < b.size(); ++i) b[i] = ToBf16(Small(random));
  for (size_t i = 0; i < c.size(); ++i) c[i] = {0xffff};
  Launch(Pipeline, {.grid = {1}, .block = {kPipeThreads}, .shared_bytes = static_cast<int>(sizeof(PipeShared)), .stream = {}}, MapOf(a.get(), kK), MapOf(b.get(), kK),
         MapOf(c.get(), 64), kSteps, bug);
  for (int row = 0; row < 64; ++row) {
    for (int column = 0; column < 64; ++column) {
      float sum = 0;
      for (int k = 0; k < kK; ++k) sum += ToFloat(a[static_cast<size_t>(row * kK + k)]) * ToFloat(b[static_cast<size_t>(column * kK + k)]);
      if (c[static_cast<size_t>(row * 64 + column)].bits != ToBf16(sum).bits) return false;
    }
  }
  return true;
}

bool IsRight(int bug) { return bug <= kReduceReadsUnwritten ? ReduceIsRight(bug) : bug <= kGemmWritesUnderCopy ? GemmIsRight(bug) : PipelineIsRight(bug); }

// In a process of its own: what a seed gave, in a word.
std::string RunSeed(const std::function<bool()>& is_right, int seed) {
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child == 0) {
    KeepReports(true);
    SetSeed(static_cast<uint64_t>(seed));
    const bool right = is_right();
    const std::string report = TakeReport();
    if (!report.empty()) std::fprintf(stderr, "%s\n", report.c_str());
    _exit(!report.empty() ? 2 : right ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  if (!WIFEXITED(status)) return "fault";
  switch (WEXITSTATUS(status)) {
    case 0: return "";
    case 1: return "wrong result";
    case 2: return "report";
  }
  return "sanitizer";
}

class Mutation : public testing::TestWithParam<int> {};

TEST_P(Mutation, IsCaught) {
  std::string how;
  int seed = 0;
  while (how.empty() && seed < kSeeds) how = RunSeed([] { return IsRight(GetParam()); }, ++seed);
  EXPECT_FALSE(how.empty()) << "bug " << GetParam() << " passed " << kSeeds << " seeds";
  RecordProperty("caught", how);
  std::printf("bug %d: %s with seed %d\n", GetParam(), how.c_str(), seed);
}

INSTANTIATE_TEST_SUITE_P(All, Mutation, testing::Range(static_cast<int>(kReduceNoBarrier), static_cast<int>(kBugs)));

TEST(Unmutated, PassesEverySeed) {
  for (int seed = 0; seed < 50; ++seed) {
    EXPECT_EQ(RunSeed([] { return ReduceIsRight(kNone); }, seed), "") << seed;
    EXPECT_EQ(RunSeed([] { return GemmIsRight(kNone); }, seed), "") << seed;
    EXPECT_EQ(RunSeed([] { return PipelineIsRight(kNone); }, seed), "") << seed;
  }
}

}  // namespace
}  // namespace precis::kernels::simt
