#include <benchmark/benchmark.h>

#include <memory>
#include <string>
#include <utility>

#include "absl/synchronization/blocking_counter.h"
#include "kernels/device.h"
#include "runtime/engine.h"
#include "tests/bench/system/system_bench.h"

namespace precis::bench {
namespace {

std::unique_ptr<runtime::Engine> MakeEngine(kernels::DType weights) {
  runtime::LoadOptions load;
  load.threads = Threads();
  load.isa = kernels::BestCpuIsa();
  load.weights = weights;
  load.weights_auto = false;
  runtime::EngineOptions options;
  options.threads = Threads();
  options.prefix_cache = false;  // every run does its whole work
  return Must(runtime::Engine::Create(Must(runtime::Catalog::Load({{"bench", ModelFolder()}}, load)), options, nullptr));
}

// `count` requests at once, each of the same document and with exactly `new_tokens`. Returns the tokens of a prompt.
int Generate(runtime::Engine* engine, const std::string& backend, const std::string& document, int count, int new_tokens) {
  absl::BlockingCounter done(count);
  int prompt_tokens = 0;
  for (int i = 0; i < count; ++i) {
    runtime::Request request;
    request.document = document;
    request.attention_backend = backend;
    request.options.max_new_tokens = request.options.min_new_tokens = new_tokens;
    Must(engine->Submit(std::move(request), {nullptr, [&, i](absl::StatusOr<runtime::Result> result) {
                                               const int tokens = Must(std::move(result)).accounting.prompt_tokens;
                                               if (i == 0) prompt_tokens = tokens;
                                               done.DecrementCount();
                                             }}));
  }
  done.Wait();
  return prompt_tokens;
}

void Requests(benchmark::State& state, kernels::DType weights, const std::string& backend, int count, int words, int new_tokens) {
  const std::unique_ptr<runtime::Engine> engine = MakeEngine(weights);
  const std::string document = Text(words);
  int prompt_tokens = Generate(engine.get(), backend, document, count, new_tokens);
  for (auto _ : state) Generate(engine.get(), backend, document, count, new_tokens);
  state.counters["prompt"] = prompt_tokens;
  state.counters["tokens/s"] = benchmark::Counter(static_cast<double>(count) * (prompt_tokens + new_tokens) * static_cast<double>(state.iterations()), benchmark::Counter::kIsRate);
}

}  // namespace

void RegisterEngine() {
  for (const kernels::DType weights : {kernels::DType::kF32, kernels::DType::kBf16, kernels::DType::kI8}) {
    const std::string name = "Engine/" + std::string(kernels::DTypeName(weights));
    const auto add = [&](const std::string& point, const std::string& backend, int count, int words, int new_tokens) {
      benchmark::RegisterBenchmark((name + "/" + point).c_str(), Requests, weights, backend, count, words, new_tokens)->UseRealTime()->Unit(benchmark::kMillisecond);
    };
    for (const char* backend : {"standard", "flash"}) {
      for (const int words : {50, 200, 400}) add(std::string("prefill/") + backend + "/words:" + std::to_string(words), backend, 1, words, 1);
    }
    add("summary/words:400+32", "flash", 1, 400, 32);
    add("summaries/8/words:400+32", "flash", 8, 400, 32);
  }
}

}  // namespace precis::bench
