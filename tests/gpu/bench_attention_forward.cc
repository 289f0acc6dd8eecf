// Causal prefill attention: 16384 tokens in sequences of one length, 12 heads of 64, bf16, K and V from 16-token pages; a ragged batch; a chunk after a prefix.

#include <memory>
#include <string>

#include "tests/gpu/bench.h"
#include "tests/gpu/support/attention_case.h"
#include "tests/gpu/support/engines.h"

namespace precis::gpu_test {
namespace {

constexpr int kTokens = 16384;

std::string RowName(const AttentionEngine& engine, bool alibi) { return "precis " + engine.name + (alibi ? " alibi" : ""); }

Record Time(const AttentionEngine& engine, const AttentionCase& attention, const BenchOptions& options) {
  kernels::GpuAttentionArgs args = attention.Args();
  args.log_sum_exp = nullptr;
  const Timing time = TimeCalls([&](cudaStream_t stream, int) { engine.run(args, stream); }, options.quick ? 5 : 10, options.quick ? 9 : 25);
  Record record;
  record.row = RowName(engine, attention.shape().alibi);
  record.unit = "TFLOP/s";
  record.value = attention.Flops() / time.median_us * 1e-6;
  record.time = time;
  record.note = "batch-invariant";
  return record;
}

// Lengths from 128 to 2048, about 16384 tokens in all.
AttentionShape Ragged(bool alibi) {
  AttentionShape shape;
  for (int i = 0; i < 16; ++i) shape.queries.push_back(128 + 120 * i + (i * 37) % 41);
  shape.contexts = shape.queries;
  shape.alibi = alibi;
  return shape;
}

// The same floating-point operations in sequences of one length, rounded up to full tiles: what a kernel without raggedness would do at its best.
double EqualWorkRate(const AttentionEngine& engine, bool alibi, const BenchOptions& options) {
  AttentionShape shape;
  shape.queries = shape.contexts = std::vector<int>(16, 1152);
  shape.alibi = alibi;
  return Time(engine, AttentionCase(shape), options).value;
}

}  // namespace

void BenchAttentionForward(const BenchOptions& options, std::vector<Record>& records) {
  const std::vector<int> lengths = options.quick ? std::vector<int>{1024, 4096, 16384} : std::vector<int>{512, 1024, 2048, 4096, 8192, 16384};
  for (const bool alibi : {false, true}) {
    for (const int length : lengths) {
      AttentionShape shape;
      shape.queries = shape.contexts = std::vector<int>(kTokens / length, length);
      shape.alibi = alibi;
      const AttentionCase attention(shape);
      for (const AttentionEngine& engine : AttentionEngines()) {
        if ((engine.tuned_variant && !options.variants) || (engine.alibi_only && !alibi)) continue;
        if (engine.materialised && length > 4096) continue;
        Record record = Time(engine, attention, options);
        record.table = "attention forward";
        record.column = std::to_string(length);
        records.push_back(record);
      }
    }
  }
  for (const bool alibi : {false, true}) {
    AttentionShape chunk;
    chunk.queries = {2048, 2048};
    chunk.contexts = {8192, 4096};
    chunk.alibi = alibi;
    const AttentionCase ragged(Ragged(alibi)), chunked(chunk);
    for (const AttentionEngine& engine : AttentionEngines()) {
      if ((engine.tuned_variant && !options.variants) || (engine.alibi_only && !alibi) || engine.materialised) continue;
      Record record = Time(engine, ragged, options);
      record.table = "attention forward, ragged";
      record.column = "ragged";
      records.push_back(record);
      const double rate = record.value;
      record.column = "equal";
      record.value = EqualWorkRate(engine, alibi, options);
      records.push_back(record);
      record.column = "ratio %";
      record.value = 100.0 * rate / record.value;
      record.unit = "TFLOP/s, %";
      records.push_back(record);
      record = Time(engine, chunked, options);
      record.table = "attention forward, ragged";
      record.column = "chunks";
      record.unit = "TFLOP/s, %";
      records.push_back(record);
    }
  }
}

}  // namespace precis::gpu_test
