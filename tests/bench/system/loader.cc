#include <benchmark/benchmark.h>

#include <string>

#include "kernels/device.h"
#include "runtime/model/catalog.h"
#include "tests/bench/system/system_bench.h"

namespace precis::bench {
namespace {

// A checkpoint from the page cache to memory in the kernels' layout.
void Load(benchmark::State& state, kernels::DType weights) {
  runtime::LoadOptions options;
  options.isa = kernels::BestCpuIsa();
  options.threads = Threads();
  options.weights = weights;
  options.weights_auto = false;
  for (auto _ : state) benchmark::DoNotOptimize(Must(runtime::Catalog::Load({{"bench", ModelFolder()}}, options)));
}

}  // namespace

void RegisterLoader() {
  for (const kernels::DType weights : {kernels::DType::kF32, kernels::DType::kBf16, kernels::DType::kI8}) {
    benchmark::RegisterBenchmark(("Loader/" + std::string(kernels::DTypeName(weights))).c_str(), Load, weights)->UseRealTime()->Unit(benchmark::kMillisecond);
  }
}

}  // namespace precis::bench
