// Decode attention: every engine against float64 by the gate, and bit for bit against itself in other company.

#include <cuda_runtime_api.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "tests/gpu/check.h"
#include "tests/gpu/support/attention_case.h"
#include "tests/gpu/support/engines.h"

namespace precis::gpu_test {
namespace {

// Runs with a poisoned workspace of exactly the size that the engine asks for.
void Run(const DecodeEngine& engine, kernels::GpuAttentionArgs args) {
  const int64_t bytes = engine.workspace_bytes(args.cache.heads, args.cache.head_dim, args.sequences.count, args.sequences.max_context);
  const DeviceArray<char> workspace(static_cast<size_t>(bytes));
  workspace.Poison();
  args.workspace = workspace.get();
  args.workspace_bytes = bytes;
  engine.run(args, nullptr);
  PRECIS_REQUIRE(cudaGetLastError());
  PRECIS_REQUIRE(cudaDeviceSynchronize());
}

AttentionShape Shape(const std::vector<int>& contexts, bool alibi, int heads = 12, int head_dim = 64, float spread = 1.0f) {
  AttentionShape shape;
  shape.contexts = contexts;
  for (const int context : contexts) shape.queries.push_back(context > 0 ? 1 : 0);
  shape.heads = heads;
  shape.head_dim = head_dim;
  shape.alibi = alibi;
  shape.spread = spread;
  return shape;
}

Outcome Gate(const DecodeEngine& engine, const AttentionShape& shape) {
  const AttentionCase attention(shape);
  kernels::GpuAttentionArgs args = attention.Args();
  args.log_sum_exp = nullptr;
  Run(engine, args);
  const GateResult gate = ApplyGate(attention.output().Get(), ComputeReference(attention));
  return {gate.passed, false, gate.Text()};
}

size_t Differences(const std::vector<uint16_t>& a, const std::vector<uint16_t>& b) {
  size_t different = 0;
  for (size_t i = 0; i < a.size(); ++i) different += a[i] != b[i];
  return different;
}

// 64 sequences together; each alone; in reverse order; in groups of 8.
Outcome Company(const DecodeEngine& engine, bool alibi) {
  std::vector<int> contexts;
  for (int i = 0; i < 64; ++i) contexts.push_back(1 + (i * 397) % 1500);
  const AttentionCase attention(Shape(contexts, alibi));
  Run(engine, attention.Args());
  const std::vector<uint16_t> together = attention.output().Get();
  size_t different = 0;
  const auto compare = [&](int group, bool reverse) {
    attention.PoisonOutput();
    for (int first = 0; first < 64; first += group) {
      std::vector<Slice> slices;
      for (int i = 0; i < group; ++i) slices.push_back({first + i, 0, 1});
      if (reverse) std::reverse(slices.begin(), slices.end());
      Run(engine, SlicedBatch(attention, slices).args());
    }
    different += Differences(together, attention.output().Get());
  };
  compare(1, false);
  compare(8, false);
  compare(64, true);
  return {different == 0, false, std::to_string(different) + " values differ (alone, with 7, with 63 others)"};
}

// The last splits of a head may finish in any order: the result may not show it.
Outcome Again(const DecodeEngine& engine, bool alibi) {
  const AttentionCase attention(Shape(std::vector<int>(64, 1900), alibi));
  Run(engine, attention.Args());
  const std::vector<uint16_t> first = attention.output().Get();
  for (int i = 0; i < 200; ++i) {
    attention.PoisonOutput();
    Run(engine, attention.Args());
    const size_t different = Differences(first, attention.output().Get());
    if (different != 0) return {false, false, std::to_string(different) + " values differ in run " + std::to_string(i)};
  }
  return {true, false, "200 runs alike"};
}

}  // namespace

void AddAttentionDecodeChecks(Checks& checks) {
  const std::vector<int> ragged = {1, 2, 15, 16, 17, 255, 256, 257, 511, 512, 513, 0, 900, 1023, 1024, 1025, 3000};
  for (const DecodeEngine& engine : DecodeEngines()) {
    const std::string prefix = "decode/" + engine.name + "/";
    for (const bool alibi : {false, true}) {
      const std::string variant = alibi ? " alibi" : " learned";
      for (const int head_dim : {64, 32, 80, 96, 128}) {
        checks.push_back({prefix + "d" + std::to_string(head_dim) + " ragged" + variant, [=, &engine] { return Gate(engine, Shape(ragged, alibi, 12, head_dim)); }});
      }
      checks.push_back({prefix + "sharp" + variant, [=, &engine] { return Gate(engine, Shape(ragged, alibi, 12, 64, 3.0f)); }});
      checks.push_back({prefix + "16384" + variant, [=, &engine] { return Gate(engine, Shape({16384, 16383}, alibi)); }});
      checks.push_back({prefix + "256 sequences" + variant, [=, &engine] { return Gate(engine, Shape(std::vector<int>(256, 900), alibi)); }});
      for (const int heads : {1, 16, 20, 25}) {
        checks.push_back({prefix + std::to_string(heads) + " heads" + variant, [=, &engine] { return Gate(engine, Shape({300, 1000, 77}, alibi, heads)); }});
      }
      checks.push_back({prefix + "bits in other company" + variant, [=, &engine] { return Company(engine, alibi); }});
      checks.push_back({prefix + "bits run to run" + variant, [=, &engine] { return Again(engine, alibi); }});
    }
  }
}

}  // namespace precis::gpu_test
