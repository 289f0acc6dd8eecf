#ifndef PRECIS_KERNELS_DEVICE_H_
#define PRECIS_KERNELS_DEVICE_H_

#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace precis::kernels {

// Element types of weights and of the KV cache.
enum class DType : uint8_t { kF32, kBf16, kI8 };

std::string_view DTypeName(DType dtype);  // "f32", "bf16", "int8"
absl::StatusOr<DType> ParseDType(std::string_view name);

// Instruction sets that the CPU kernels are compiled for, worst first.
enum class CpuIsa : uint8_t { kPortable, kAvx2, kAvx512 };

std::string_view CpuIsaName(CpuIsa isa);  // "portable", "avx2", "avx512"
absl::StatusOr<CpuIsa> ParseCpuIsa(std::string_view name);

// The best that this machine runs (CPUID and OS support).
CpuIsa BestCpuIsa();
// All that this machine runs, worst first; kPortable is always there.
std::vector<CpuIsa> SupportedCpuIsas();

}  // namespace precis::kernels

#endif  // PRECIS_KERNELS_DEVICE_H_
