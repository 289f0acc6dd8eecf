#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <utility>

#include "kernels/simt/block.h"
#include "kernels/simt/race.h"

namespace precis::kernels::simt {
namespace {

constexpr int64_t kMostThreads = 1024;
constexpr int kMostSharedBytes = 227 << 10;  // of sm_90

// PRECIS_TEST_SIMT_SEED, or 1.
uint64_t SeedOfEnvironment() {
  const char* text = std::getenv("PRECIS_TEST_SIMT_SEED");
  return text == nullptr ? 1 : std::strtoull(text, nullptr, 10);
}

struct Machine {
  std::mt19937_64 random{SeedOfEnvironment()};
  bool shuffle = SeedOfEnvironment() != 0;
  bool keep = false;
  std::string report;
};
thread_local Machine machine;

std::vector<int64_t> Order(int64_t blocks) {
  std::vector<int64_t> order(static_cast<size_t>(blocks));
  std::iota(order.begin(), order.end(), 0);
  if (machine.shuffle) std::shuffle(order.begin(), order.end(), machine.random);
  return order;
}

std::string CheckConfig(const LaunchConfig& c) {
  const int64_t threads = c.block.x * c.block.y * c.block.z;
  if (threads < 1 || threads > kMostThreads) return "simt: a block of " + std::to_string(threads) + " threads; 1 to 1,024 are allowed";
  if (c.shared_bytes < 0 || c.shared_bytes > kMostSharedBytes) return "simt: " + std::to_string(c.shared_bytes) + " bytes of shared memory; at most 232,448 are allowed";
  if (c.grid.x < 1 || c.grid.y < 1 || c.grid.z < 1 || c.grid.y > 65535 || c.grid.z > 65535) return "simt: a grid dimension is outside its range";
  return "";
}

void Report(const std::string& report) {
  if (report.empty()) return;
  if (!machine.keep) {
    std::fprintf(stderr, "%s\n", report.c_str());
    std::abort();
  }
  if (machine.report.empty()) machine.report = report;
}

}  // namespace

void RunGrid(const LaunchConfig& config, const std::function<void()>& thread) {
  if (!machine.report.empty()) return;
  const Unwatched unwatched;
  const std::string wrong = CheckConfig(config);
  if (!wrong.empty()) return Report(wrong);
  Block block(config, machine.random, thread, machine.shuffle);
  Release(&block);
  for (int64_t i : Order(config.grid.x * config.grid.y * config.grid.z)) {
    const Index3 index = {static_cast<unsigned>(i % config.grid.x), static_cast<unsigned>(i / config.grid.x % config.grid.y),
                          static_cast<unsigned>(i / config.grid.x / config.grid.y)};
    if (!block.Run(index)) return Report(block.report());
  }
  Acquire(&block);
}

void SetSeed(uint64_t seed) {
  machine.shuffle = seed != 0;
  machine.random.seed(seed);
}

std::string TakeReport() { return std::exchange(machine.report, ""); }
void KeepReports(bool keep) { machine.keep = keep; }

}  // namespace precis::kernels::simt
