// Decode attention: one new row a sequence against 900 keys from 16-token pages, 12 heads of 64, bf16. Inputs rotate so that the cache is read from memory
// where it is larger than L2 altogether.

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "tests/gpu/bench.h"
#include "tests/gpu/support/attention_case.h"
#include "tests/gpu/support/engines.h"

namespace precis::gpu_test {
namespace {

constexpr int kContext = 900;
constexpr double kCacheBytes = 256e6;  // of all inputs together, several times L2

}  // namespace

void BenchPagedDecode(const BenchOptions& options, std::vector<Record>& records) {
  for (const bool alibi : {false, true}) {
    for (const int sequences : {1, 16, 64, 256}) {
      AttentionShape shape;
      shape.queries = std::vector<int>(sequences, 1);
      shape.contexts = std::vector<int>(sequences, kContext);
      shape.alibi = alibi;
      const double bytes = 2.0 * 2 * sequences * kContext * shape.heads * shape.head_dim;
      const int copies = std::min(24, std::max(1, static_cast<int>(kCacheBytes / bytes)));
      std::vector<std::unique_ptr<AttentionCase>> cases;
      for (int i = 0; i < copies; ++i) {
        shape.seed = static_cast<uint32_t>(i + 1);
        cases.push_back(std::make_unique<AttentionCase>(shape));
      }
      for (const DecodeEngine& engine : DecodeEngines()) {
        if (engine.tuned_variant && !options.variants) continue;
        DeviceArray<char> workspace(static_cast<size_t>(engine.workspace_bytes(shape.heads, shape.head_dim, sequences, kContext)));
        const auto enqueue = [&](cudaStream_t stream, int i) {
          kernels::GpuAttentionArgs args = cases[static_cast<size_t>(i) % cases.size()]->Args();
          args.log_sum_exp = nullptr;
          args.workspace = workspace.get();
          args.workspace_bytes = static_cast<int64_t>(workspace.size());
          engine.run(args, stream);
        };
        const Timing time = TimeCalls(enqueue, 2 * copies, options.quick ? 9 : 25);
        const std::string row = "precis " + engine.name + (alibi ? " alibi" : "");
        const std::string column = std::to_string(sequences) + " x 900";
        records.push_back({"paged decode, time", row, column, "us", time.median_us, time, "batch-invariant"});
        records.push_back({"paged decode, bandwidth", row, column, "TB/s", bytes / time.median_us * 1e-6, time, "batch-invariant"});
      }
    }
  }
}

}  // namespace precis::gpu_test
