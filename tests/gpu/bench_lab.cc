// The laboratory's versions (kernels/lab): causal attention, 16384 tokens in all as 12 heads of one sequence would have them, head size 64, bf16, contiguous.

#include <string>

#include "tests/gpu/bench.h"
#include "tests/gpu/support/device_array.h"
#include "tests/gpu/support/gpu_model.h"
#include "tests/gpu/support/lab_versions.h"

namespace precis::gpu_test {

void BenchLab(const BenchOptions& options, std::vector<Record>& records) {
  cudaDeviceProp gpu;
  PRECIS_REQUIRE(cudaGetDeviceProperties(&gpu, 0));
  for (const int tokens : {1024, 4096, 16384}) {
    const int heads = 12 * 16384 / tokens;
    const size_t size = static_cast<size_t>(heads) * static_cast<size_t>(tokens) * 64;
    const DeviceArray<uint16_t> q(RandomBf16(size, 1, 1)), k(RandomBf16(size, 2, 1)), v(RandomBf16(size, 3, 1)), o(size);
    for (const LabKernel& version : LabKernels()) {
      if (version.compute_major > gpu.major || (version.compute_major == 9 && gpu.major != 9)) continue;
      const bool slow = version.name[0] <= '2';  // tens of milliseconds a call
      Record record;
      record.table = "laboratory";
      record.row = version.name;
      record.column = std::to_string(tokens);
      record.unit = "TFLOP/s";
      record.time = TimeCalls([&](cudaStream_t stream, int) { version.run(q.get(), k.get(), v.get(), o.get(), heads, tokens, stream); },
                              slow ? 1 : 5, slow || options.quick ? 5 : 15);
      record.value = 2.0 * heads * tokens * (tokens + 1.0) * 64 / record.time.median_us * 1e-6;
      record.note = version.idea;
      records.push_back(record);
    }
  }
}

}  // namespace precis::gpu_test
