// Prefill attention: every engine against float64 by the gate, and bit for bit against itself in other company.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>

#include "tests/gpu/check.h"
#include "tests/gpu/support/attention_case.h"
#include "tests/gpu/support/engines.h"

namespace precis::gpu_test {
namespace {

void Run(const AttentionEngine& engine, const kernels::GpuAttentionArgs& args) {
  engine.run(args, nullptr);
  PRECIS_REQUIRE(cudaGetLastError());
  PRECIS_REQUIRE(cudaDeviceSynchronize());
}

// References are the same for all engines: kept from one check to the next.
struct Known {
  AttentionShape shape;
  std::unique_ptr<AttentionCase> attention;
  AttentionReference reference;
};
Known& Get(const AttentionShape& shape) {
  static Known known;
  const AttentionShape& old = known.shape;
  const bool same = known.attention != nullptr && old.queries == shape.queries && old.contexts == shape.contexts && old.heads == shape.heads &&
                    old.head_dim == shape.head_dim && old.alibi == shape.alibi && old.seed == shape.seed && old.spread == shape.spread;
  if (!same) {
    known.attention = std::make_unique<AttentionCase>(shape);
    known.reference = ComputeReference(*known.attention);
    known.shape = shape;
  }
  known.attention->PoisonOutput();
  return known;
}

Outcome Gate(const AttentionEngine& engine, const AttentionShape& shape) {
  Known& known = Get(shape);
  kernels::GpuAttentionArgs args = known.attention->Args();
  if (!engine.log_sum_exp) args.log_sum_exp = nullptr;
  Run(engine, args);
  const std::vector<uint16_t> output = known.attention->output().Get();
  const GateResult gate = ApplyGate(output, known.reference);
  if (!engine.log_sum_exp) return {gate.passed, false, gate.Text()};
  double lse_error = 0;
  const std::vector<float> lse = known.attention->log_sum_exp().Get();
  for (size_t i = 0; i < lse.size(); ++i) {
    const double error = std::fabs(lse[i] - known.reference.log_sum_exp[i]);
    if (!(error <= lse_error)) lse_error = error;
  }
  const double lse_allowed = engine.materialised ? 0.25 : 2e-3;  // scores rounded to bf16, or not
  char text[240];
  std::snprintf(text, sizeof(text), "%s, log-sum-exp %.2g (<= %.0e)", gate.Text().c_str(), lse_error, lse_allowed);
  return {gate.passed && lse_error <= lse_allowed, false, text};
}

Outcome SameBits(const std::vector<uint16_t>& a, const std::vector<uint16_t>& b) {
  size_t different = 0;
  for (size_t i = 0; i < a.size(); ++i) different += a[i] != b[i];
  return {different == 0, false, std::to_string(different) + " of " + std::to_string(a.size()) + " values differ"};
}

AttentionShape Ragged(bool alibi) {
  AttentionShape shape;
  shape.queries = {700, 1, 64, 193, 1024, 15, 384, 129};
  shape.contexts = {700, 900, 64, 1000, 1024, 2000, 400, 129};
  shape.alibi = alibi;
  return shape;
}

// A batch, then each of its sequences alone, then all in reverse order.
Outcome Company(const AttentionEngine& engine, bool alibi) {
  const AttentionCase attention(Ragged(alibi));
  Run(engine, attention.Args());
  const std::vector<uint16_t> together = attention.output().Get();
  attention.PoisonOutput();
  const int count = static_cast<int>(attention.shape().queries.size());
  std::vector<Slice> reversed;
  for (int s = count - 1; s >= 0; --s) {
    reversed.push_back({s, 0, attention.shape().queries[s]});
    Run(engine, SlicedBatch(attention, {reversed.back()}).args());
  }
  const Outcome alone = SameBits(together, attention.output().Get());
  attention.PoisonOutput();
  Run(engine, SlicedBatch(attention, reversed).args());
  const Outcome other = SameBits(together, attention.output().Get());
  return {alone.passed && other.passed, false, "alone: " + alone.text + "; reversed: " + other.text};
}

// A prompt in chunks of awkward sizes against the prompt at once.
Outcome Chunks(const AttentionEngine& engine, bool alibi) {
  AttentionShape shape;
  shape.queries = shape.contexts = {2500};
  shape.alibi = alibi;
  const AttentionCase attention(shape);
  Run(engine, attention.Args());
  const std::vector<uint16_t> whole = attention.output().Get();
  Outcome outcome = {true, false, ""};
  for (const int chunk : {1000, 333, 64, 17}) {
    attention.PoisonOutput();
    for (int first = 0; first < 2500; first += chunk) Run(engine, SlicedBatch(attention, {{0, first, std::min(chunk, 2500 - first)}}).args());
    const Outcome part = SameBits(whole, attention.output().Get());
    outcome.passed = outcome.passed && part.passed;
    outcome.text += (outcome.text.empty() ? "by " : "; by ") + std::to_string(chunk) + ": " + part.text;
  }
  return outcome;
}

Outcome Again(const AttentionEngine& engine, bool alibi) {
  AttentionShape shape;
  shape.queries = shape.contexts = {4096, 2048, 1024, 1024};
  shape.alibi = alibi;
  const AttentionCase attention(shape);
  Run(engine, attention.Args());
  const std::vector<uint16_t> first = attention.output().Get();
  for (int i = 0; i < 20; ++i) {
    attention.PoisonOutput();
    Run(engine, attention.Args());
    const Outcome outcome = SameBits(first, attention.output().Get());
    if (!outcome.passed) return outcome;
  }
  return {true, false, "20 runs alike"};
}

struct NamedShape {
  std::string name;
  AttentionShape shape;
};

std::vector<NamedShape> Shapes(int head_dim) {
  std::vector<NamedShape> shapes;
  const auto add = [&](const std::string& name, const std::vector<int>& queries, const std::vector<int>& contexts, int heads = 12, float spread = 1.0f) {
    for (const bool alibi : {false, true}) {
      AttentionShape shape{queries, contexts, heads, head_dim, alibi, 7, spread};
      shapes.push_back({name + (alibi ? " alibi" : " learned"), shape});
    }
  };
  for (const int n : {1, 2, 15, 16, 17, 63, 64, 65, 127, 128, 129, 191, 192, 193, 257, 1023, 1024, 1025}) add(std::to_string(n), {n}, {n});
  add("no rows", {0, 0}, {40, 0});
  add("ragged", Ragged(false).queries, Ragged(false).contexts);
  add("ragged, sharp", Ragged(false).queries, Ragged(false).contexts, 12, 3.0f);
  add("64 sequences", std::vector<int>(64, 113), std::vector<int>(64, 241));
  for (const int heads : {1, 16, 20, 25}) add(std::to_string(heads) + " heads", {300, 77}, {300, 1000}, heads);
  if (head_dim == 64) {
    add("4096", {4096}, {4096});
    add("16384", {16384}, {16384}, 2);
  }
  return shapes;
}

}  // namespace

void AddAttentionForwardChecks(Checks& checks) {
  // By shape first, so that an expensive reference serves all engines.
  for (const int head_dim : {64, 32, 80, 96, 128}) {
    for (const NamedShape& named : Shapes(head_dim)) {
      for (const AttentionEngine& engine : AttentionEngines()) {
        if ((head_dim != 64 && !engine.any_head_dim) || (engine.alibi_only && !named.shape.alibi)) continue;
        checks.push_back({"attention/" + engine.name + "/d" + std::to_string(head_dim) + " " + named.name,
                          [&engine, shape = named.shape] { return Gate(engine, shape); }});
      }
    }
  }
  for (const AttentionEngine& engine : AttentionEngines()) {
    for (const bool alibi : {false, true}) {
      const std::string variant = alibi ? " alibi" : " learned";
      checks.push_back({"attention/" + engine.name + "/bits in other company" + variant, [&engine, alibi] { return Company(engine, alibi); }});
      checks.push_back({"attention/" + engine.name + "/bits by chunks" + variant, [&engine, alibi] { return Chunks(engine, alibi); }});
      checks.push_back({"attention/" + engine.name + "/bits run to run" + variant, [&engine, alibi] { return Again(engine, alibi); }});
    }
  }
}

}  // namespace precis::gpu_test
