#include <benchmark/benchmark.h>

#include <memory>
#include <string>
#include <vector>

#include "runtime/tokenizer.h"
#include "tests/bench/system/system_bench.h"

namespace precis::bench {
namespace {

const runtime::Tokenizer& TheTokenizer() {
  static const auto tokenizer = Must(runtime::Tokenizer::Load(ModelFolder()));
  return *tokenizer;
}

void Rate(benchmark::State& state, size_t bytes) {
  state.SetBytesProcessed(static_cast<int64_t>(bytes) * static_cast<int64_t>(state.iterations()));
}

void Encode(benchmark::State& state) {
  const std::string text = Text(static_cast<int>(state.range(0)));
  for (auto _ : state) benchmark::DoNotOptimize(TheTokenizer().Encode(text));
  Rate(state, text.size());
}

void Decode(benchmark::State& state) {
  const std::string text = Text(static_cast<int>(state.range(0)));
  const std::vector<int32_t> tokens = TheTokenizer().Encode(text);
  for (auto _ : state) benchmark::DoNotOptimize(TheTokenizer().DecodeBytes(tokens));
  Rate(state, text.size());
}

// Token by token, as answers are streamed.
void Stream(benchmark::State& state) {
  const std::string text = Text(static_cast<int>(state.range(0)));
  const std::vector<int32_t> tokens = TheTokenizer().Encode(text);
  for (auto _ : state) {
    runtime::StreamingDecoder decoder(TheTokenizer());
    for (const int32_t token : tokens) benchmark::DoNotOptimize(decoder.Push(token));
    benchmark::DoNotOptimize(decoder.Finish());
  }
  Rate(state, text.size());
}

void Load(benchmark::State& state) {
  for (auto _ : state) benchmark::DoNotOptimize(Must(runtime::Tokenizer::Load(ModelFolder())));
}

}  // namespace

void RegisterTokenizer() {
  benchmark::RegisterBenchmark("Tokenizer/encode", Encode)->ArgName("words")->Arg(800)->Arg(80000)->Unit(benchmark::kMicrosecond);
  benchmark::RegisterBenchmark("Tokenizer/decode", Decode)->ArgName("words")->Arg(800)->Unit(benchmark::kMicrosecond);
  benchmark::RegisterBenchmark("Tokenizer/stream", Stream)->ArgName("words")->Arg(60)->Unit(benchmark::kMicrosecond);
  benchmark::RegisterBenchmark("Tokenizer/load", Load)->Unit(benchmark::kMillisecond);
}

}  // namespace precis::bench
