// Kernel benchmarks. FLOP/s count a multiply-add as two; attention counts only what the causal mask leaves. GB/s are the bytes of weights
// (or of keys and values) over the time. All inputs are random.
//
//   precis-kernels-bench --benchmark_filter='Gemm/f32' --benchmark_min_time=0.5
#include <benchmark/benchmark.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "kernels/attention.h"
#include "kernels/ops.h"

namespace precis::kernels {
namespace {

ThreadPool& Pool() {
  static ThreadPool pool(std::getenv("PRECIS_THREADS") != nullptr ? std::atoi(std::getenv("PRECIS_THREADS"))
                                                                  : static_cast<int>(std::thread::hardware_concurrency()));
  return pool;
}

CpuIsa Isa() {
  const char* name = std::getenv("PRECIS_ISA");
  return name != nullptr ? *ParseCpuIsa(name) : BestCpuIsa();
}

std::vector<float> Random(size_t count) {
  static std::mt19937 random(1);
  std::uniform_real_distribution<float> uniform(-1, 1);
  std::vector<float> values(count);
  for (float& value : values) value = uniform(random);
  return values;
}

// Copies of a matrix, so that a product of few rows reads its weights from memory as in a model, not from the cache.
struct Matrices {
  std::vector<std::unique_ptr<PackedMatrix>> copies;
};

Matrices& CachedMatrices(DType dtype, int64_t in, int64_t out) {
  static std::map<std::tuple<DType, int64_t, int64_t>, Matrices> cache;
  Matrices& matrices = cache[{dtype, in, out}];
  if (matrices.copies.empty()) {
    const std::vector<float> weights = Random(in * out);
    WeightSource source;
    source.data = weights.data();
    source.in = in;
    source.out = out;
    int64_t bytes = 0;
    while (bytes < (int64_t{96} << 20)) {
      matrices.copies.push_back(*PackedMatrix::Pack(source, dtype, Isa(), Pool()));
      bytes += matrices.copies.back()->bytes();
    }
  }
  return matrices;
}

void Gemm(benchmark::State& state, DType dtype, int64_t in, int64_t out) {
  const int64_t rows = state.range(0);
  Matrices& matrices = CachedMatrices(dtype, in, out);
  const std::vector<float> x = Random(rows * in), bias = Random(out);
  std::vector<float> y(rows * out);
  PackedMatrix::Args args;
  args.x = x.data();
  args.x_stride = in;
  args.y = y.data();
  args.y_stride = out;
  args.rows = rows;
  args.bias = bias.data();
  size_t next = 0;
  for (auto _ : state) {
    matrices.copies[next]->Multiply(args, Pool());
    next = (next + 1) % matrices.copies.size();
  }
  const double runs = static_cast<double>(state.iterations());
  state.counters["GFLOP/s"] = benchmark::Counter(2e-9 * rows * in * out * runs, benchmark::Counter::kIsRate);
  state.counters["GB/s"] = benchmark::Counter(1e-9 * matrices.copies[0]->bytes() * runs, benchmark::Counter::kIsRate);
}

// One layer of 12 heads of 64, `sequences` of `context` tokens each with `queries` rows.
void Attention(benchmark::State& state, const AttentionVariant& variant, DType dtype, int sequences, bool prefill) {
  constexpr int kHeads = 12, kHeadDim = 64;
  const int context = static_cast<int>(state.range(0));
  const int queries = prefill ? context : 1;
  const int pages = (context + kPageTokens - 1) / kPageTokens;
  const int64_t page_bytes = KvPageBytes(dtype, kHeads, kHeadDim);
  std::vector<char> memory(2 * page_bytes * pages * sequences);
  KvLayerView view = {memory.data(), memory.data() + page_bytes, 2 * page_bytes, dtype, kHeads, kHeadDim};
  std::vector<int32_t> table(static_cast<size_t>(pages) * sequences);
  std::vector<AttentionSequence> batch;
  const std::vector<float> tokens = Random(static_cast<size_t>(context) * kHeads * kHeadDim);
  for (int s = 0; s < sequences; ++s) {
    std::vector<int64_t> slots;
    for (int p = 0; p < pages; ++p) table[s * pages + p] = p * sequences + s;
    for (int t = 0; t < context; ++t) {
      slots.push_back(int64_t{table[s * pages + t / kPageTokens]} * kPageTokens + t % kPageTokens);
    }
    WriteKv(view, tokens.data(), tokens.data(), kHeads * kHeadDim, slots, Isa(), Pool());
    batch.push_back({s * queries, queries, context, table.data() + s * pages});
  }
  const std::vector<float> query = Random(static_cast<size_t>(queries) * sequences * kHeads * kHeadDim);
  std::vector<float> output(query.size());
  const std::vector<float> slopes = AlibiSlopes(kHeads);
  AttentionArgs args;
  args.query = query.data();
  args.output = output.data();
  args.query_stride = args.output_stride = kHeads * kHeadDim;
  args.cache = view;
  args.sequences = batch;
  args.scale = 0.125f;
  if (variant.positions == Positions::kAlibi) args.alibi_slopes = slopes;
  args.workspace_bytes =
      AttentionWorkspaceBytes(variant, kHeads, kHeadDim, batch, Pool().threads(), int64_t{256} << 20);
  std::unique_ptr<char, decltype(&std::free)> workspace(
      static_cast<char*>(std::aligned_alloc(64, (args.workspace_bytes + 63) / 64 * 64)), &std::free);
  args.workspace = workspace.get();
  for (auto _ : state) RunAttention(variant, args, Isa(), Pool());
  const double runs = static_cast<double>(state.iterations());
  const double pairs = prefill ? 0.5 * context * (context + 1.0) : context;
  state.counters["GFLOP/s"] =
      benchmark::Counter(4e-9 * pairs * kHeads * kHeadDim * sequences * runs, benchmark::Counter::kIsRate);
  state.counters["GB/s"] = benchmark::Counter(1e-9 * memory.size() * runs, benchmark::Counter::kIsRate);
  state.counters["workspace_KiB"] = static_cast<double>(args.workspace_bytes) / 1024;
}

void LayerNormBench(benchmark::State& state) {
  const int64_t rows = state.range(0), size = 768;
  const std::vector<float> x = Random(rows * size), gain = Random(size), bias = Random(size);
  std::vector<float> y(rows * size);
  for (auto _ : state) LayerNorm(x.data(), gain.data(), bias.data(), 1e-5f, rows, size, y.data(), Isa(), Pool());
  state.counters["GB/s"] = benchmark::Counter(8e-9 * rows * size * static_cast<double>(state.iterations()),
                                              benchmark::Counter::kIsRate);
}

void PackBench(benchmark::State& state, DType dtype, SourceDType source_dtype, WeightLayout layout) {
  const int64_t in = 768, out = 50257;
  const std::vector<float> data = Random(in * out);
  WeightSource source = {data.data(), source_dtype, layout, in, out, nullptr};
  for (auto _ : state) benchmark::DoNotOptimize(PackedMatrix::Pack(source, dtype, Isa(), Pool()));
  state.counters["Mweights/s"] =
      benchmark::Counter(1e-6 * in * out * static_cast<double>(state.iterations()), benchmark::Counter::kIsRate);
}

void ArgMaxBench(benchmark::State& state) {
  const std::vector<float> values = Random(50257);
  for (auto _ : state) benchmark::DoNotOptimize(ArgMax(values, Isa()));
}

void Register() {
  using benchmark::RegisterBenchmark;
  for (DType dtype : {DType::kF32, DType::kBf16, DType::kI8}) {
    const std::string name = "Gemm/" + std::string(DTypeName(dtype));
    for (const auto& [shape, in, out] : {std::tuple("qkv", 768, 2304), {"proj", 768, 768}, {"up", 768, 3072},
                                         {"down", 3072, 768}, {"head", 768, 50257}}) {
      auto* bench = RegisterBenchmark((name + "/" + shape).c_str(), Gemm, dtype, in, out);
      for (int rows : {1, 2, 4, 8, 16, 64}) bench->Arg(rows);
      if (out < 10000) bench->Arg(512);
      bench->UseRealTime()->Unit(benchmark::kMicrosecond);
    }
  }
  for (const AttentionVariant& variant : AttentionVariants()) {
    for (DType dtype : {DType::kF32, DType::kBf16}) {
      const std::string name = std::string(variant.name) + "/" + std::string(DTypeName(dtype));
      auto* prefill = RegisterBenchmark(("Prefill/" + name).c_str(), Attention, variant, dtype, 1, true);
      auto* decode = RegisterBenchmark(("Decode1/" + name).c_str(), Attention, variant, dtype, 1, false);
      auto* batch = RegisterBenchmark(("Decode16/" + name).c_str(), Attention, variant, dtype, 16, false);
      for (auto* bench : {prefill, decode, batch}) {
        for (int context : {16, 64, 128, 256, 512, 1024, 2048}) bench->Arg(context);
        bench->UseRealTime()->Unit(benchmark::kMicrosecond);
      }
      if (variant.algorithm == Algorithm::kTiled) prefill->Arg(16384);
    }
  }
  RegisterBenchmark("LayerNorm", LayerNormBench)->Arg(1)->Arg(512)->UseRealTime()->Unit(benchmark::kMicrosecond);
  RegisterBenchmark("ArgMax", ArgMaxBench)->UseRealTime()->Unit(benchmark::kMicrosecond);
  for (DType dtype : {DType::kF32, DType::kBf16, DType::kI8}) {
    for (const auto& [layout, label] : {std::pair(WeightLayout::kInOut, "in_out"), {WeightLayout::kOutIn, "out_in"}}) {
      const std::string name = std::string(DTypeName(dtype)) + "/" + label;
      RegisterBenchmark(("Pack/f32_to_" + name).c_str(), PackBench, dtype, SourceDType::kF32, layout)->UseRealTime()->Unit(benchmark::kMillisecond);
      RegisterBenchmark(("Pack/bf16_to_" + name).c_str(), PackBench, dtype, SourceDType::kBf16, layout)->UseRealTime()->Unit(benchmark::kMillisecond);
    }
  }
}

}  // namespace
}  // namespace precis::kernels

int main(int argc, char** argv) {
  precis::kernels::Register();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::AddCustomContext("isa", std::string(precis::kernels::CpuIsaName(precis::kernels::Isa())));
  benchmark::AddCustomContext("threads", std::to_string(precis::kernels::Pool().threads()));
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
