// What the hot calls of Metrics cost.
#include <benchmark/benchmark.h>

#include "server/metrics/metrics.h"

namespace precis::server {
namespace {

const runtime::RequestLabels kLabels = {"gpt2", "flash", "cpu", "rollout", "treatment"};

void BM_OnToken(benchmark::State& state) {
  static Metrics* const metrics = Metrics::Create({}).release();
  for (auto _ : state) metrics->OnToken(kLabels, absl::Milliseconds(5));
}
BENCHMARK(BM_OnToken)->Threads(1)->Threads(2);

void BM_OnGauges(benchmark::State& state) {
  auto metrics = Metrics::Create({});
  const runtime::GaugeSnapshot::Share shares[] = {{"gpt2", "flash", 3}, {"gpt2", "standard", 2}};
  for (auto _ : state) metrics->OnGauges({.running = 5, .shares = shares, .share_count = 2});
}
BENCHMARK(BM_OnGauges);

void BM_OnStep(benchmark::State& state) {
  auto metrics = Metrics::Create({});
  for (auto _ : state) metrics->OnStep({.duration = absl::Milliseconds(5), .decode_rows = 8, .decode_tokens = 8});
}
BENCHMARK(BM_OnStep);

void BM_OnRpcFinished(benchmark::State& state) {
  auto metrics = Metrics::Create({});
  for (auto _ : state) metrics->OnRpcFinished(kLabels, "OK", "end_of_text", absl::Seconds(1));
}
BENCHMARK(BM_OnRpcFinished);

void BM_Serialize(benchmark::State& state) {
  auto metrics = Metrics::Create({});
  const std::string names[] = {"a", "b", "c", "d"};
  for (const std::string& name : names) {
    const runtime::RequestLabels labels = {"gpt2", name, "cpu"};
    metrics->OnScheduled(labels, absl::Milliseconds(1));
    metrics->OnFirstToken(labels, absl::Milliseconds(1), absl::Milliseconds(1));
    metrics->OnToken(labels, absl::Milliseconds(1));
    metrics->OnFinished(labels, absl::OkStatus(), "end_of_text", {.new_tokens = 2});
    metrics->OnRpcFinished(labels, "OK", "end_of_text", absl::Seconds(1));
  }
  for (auto _ : state) benchmark::DoNotOptimize(metrics->Serialize());
}
BENCHMARK(BM_Serialize);

}  // namespace
}  // namespace precis::server
