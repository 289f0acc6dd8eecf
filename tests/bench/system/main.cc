// precis-system-bench: everything above the kernels: tokenizer, loader, scheduler, the whole engine, and calls through gRPC.
//
//   precis-system-bench --benchmark_filter='Scheduler'
//
// PRECIS_BENCH_MODEL names a model folder other than the embedded one, PRECIS_THREADS the threads.
#include <benchmark/benchmark.h>

#include <fstream>
#include <functional>
#include <random>
#include <sstream>
#include <string>
#include <thread>

#include "kernels/device.h"
#include "tests/bench/system/system_bench.h"

namespace precis::bench {

std::string ModelFolder() {
  const char* folder = std::getenv("PRECIS_BENCH_MODEL");
  return folder != nullptr ? folder : PRECIS_SOURCE_DIR "/deploy/models/precis-small-learned";
}

int Threads() {
  const char* threads = std::getenv("PRECIS_THREADS");
  return threads != nullptr ? std::atoi(threads) : static_cast<int>(std::thread::hardware_concurrency());
}

std::string Text(int words) {
  static constexpr const char* kWords[] = {"the", "harbour", "council", "said", "on", "Monday", "that", "boats", "would", "return", "by", "1987", "after", "winter's", "end", "and", "£21", "million"};
  std::mt19937 random(1);
  std::string text;
  for (int i = 0; i < words; ++i) text += std::string(i == 0 ? "" : " ") + kWords[random() % std::size(kWords)] + (random() % 9 == 0 ? "." : "");
  return text;
}

namespace {

// What results of the engine depend on besides the code.
std::string ModelMark() {
  std::ostringstream bytes;
  bytes << std::ifstream(ModelFolder() + "/config.json", std::ios::binary).rdbuf();
  return std::to_string(std::hash<std::string>()(bytes.str()) % 100000000);
}

}  // namespace
}  // namespace precis::bench

int main(int argc, char** argv) {
  using namespace precis::bench;  // NOLINT
  RegisterTokenizer();
  RegisterLoader();
  RegisterScheduler();
  RegisterEngine();
  RegisterCalls();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::AddCustomContext("isa", std::string(precis::kernels::CpuIsaName(precis::kernels::BestCpuIsa())));
  benchmark::AddCustomContext("threads", std::to_string(Threads()));
  benchmark::AddCustomContext("model_config", ModelMark());
  benchmark::RunSpecifiedBenchmarks();
  StopServer();
  return 0;
}
