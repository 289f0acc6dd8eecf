// What the machine can do: a device-to-device copy, and a large bf16 matrix product through cuBLAS, opened at run time.

#include <dlfcn.h>

#include <cstdint>
#include <cstdio>
#include <vector>

#include "tests/gpu/bench.h"
#include "tests/gpu/support/attention_case.h"
#include "tests/gpu/support/device_array.h"

namespace precis::gpu_test {
namespace {

// The part of cuBLAS that is needed, as its documentation declares it.
using CublasHandle = void*;
constexpr int kOpN = 0, kOpT = 1, kBf16 = 14, kComputeF32 = 68, kDefaultAlgorithm = -1;
using CublasCreate = int (*)(CublasHandle*);
using CublasSetStream = int (*)(CublasHandle, cudaStream_t);
using CublasSetWorkspace = int (*)(CublasHandle, void*, size_t);
using CublasGemmEx = int (*)(CublasHandle, int, int, int, int, int, const void*, const void*, int, int, const void*, int, int, const void*, void*, int,
                             int, int, int);

void* OpenCublas() {
  for (const char* name : {"libcublas.so.13", "libcublas.so.12", "libcublas.so"}) {
    if (void* library = dlopen(name, RTLD_NOW | RTLD_LOCAL)) return library;
  }
  return nullptr;
}

void BenchCopy(std::vector<Record>& records) {
  const size_t bytes = size_t{2} << 30;
  DeviceArray<char> from(bytes), to(bytes);
  from.Poison();
  const Timing time = TimeCalls(
      [&](cudaStream_t stream, int) { PRECIS_REQUIRE(cudaMemcpyAsync(to.get(), from.get(), bytes, cudaMemcpyDeviceToDevice, stream)); }, 3, 9);
  records.push_back({"ceilings", "copy (read + write)", "2 GiB", "TB/s", 2.0 * static_cast<double>(bytes) / time.median_us * 1e-6, time, ""});
}

std::vector<uint16_t> RandomMatrix(size_t size) {
  std::vector<uint16_t> values(size);
  uint32_t state = 1;
  for (uint16_t& value : values) {
    state = state * 1664525 + 1013904223;
    value = RoundToBf16(static_cast<float>(state >> 8) / 8388608.0f - 1.0f);
  }
  return values;
}

void BenchGemm(std::vector<Record>& records) {
  void* library = OpenCublas();
  if (library == nullptr) {
    std::printf("no cuBLAS found (libcublas.so.13 or .12 on LD_LIBRARY_PATH): no matrix product ceiling\n");
    return;
  }
  const auto create = reinterpret_cast<CublasCreate>(dlsym(library, "cublasCreate_v2"));
  const auto set_stream = reinterpret_cast<CublasSetStream>(dlsym(library, "cublasSetStream_v2"));
  const auto set_workspace = reinterpret_cast<CublasSetWorkspace>(dlsym(library, "cublasSetWorkspace_v2"));
  const auto gemm = reinterpret_cast<CublasGemmEx>(dlsym(library, "cublasGemmEx"));
  CublasHandle handle = nullptr;
  if (create == nullptr || set_stream == nullptr || set_workspace == nullptr || gemm == nullptr || create(&handle) != 0) return;
  constexpr int n = 8192;
  const std::vector<uint16_t> host = RandomMatrix(static_cast<size_t>(n) * n);
  DeviceArray<uint16_t> a(host), b(host), c(host.size());
  DeviceArray<char> workspace(size_t{32} << 20);
  const float one = 1.0f, zero = 0.0f;
  int status = set_workspace(handle, workspace.get(), workspace.size());
  const Timing time = TimeCalls(
      [&](cudaStream_t stream, int) {
        status |= set_stream(handle, stream);
        status |= set_workspace(handle, workspace.get(), workspace.size());
        status |= gemm(handle, kOpT, kOpN, n, n, n, &one, a.get(), kBf16, n, b.get(), kBf16, n, &zero, c.get(), kBf16, n, kComputeF32, kDefaultAlgorithm);
      },
      3, 15);
  if (status != 0) {
    std::printf("cuBLAS answered %d: no matrix product ceiling\n", status);
    return;
  }
  records.push_back({"ceilings", "matrix product 8192^3, bf16 (cuBLAS)", "8192", "TFLOP/s", 2.0 * n * n * double{n} / time.median_us * 1e-6, time, ""});
}

}  // namespace

void BenchCeilings(const BenchOptions&, std::vector<Record>& records) {
  BenchCopy(records);
  BenchGemm(records);
}

}  // namespace precis::gpu_test
