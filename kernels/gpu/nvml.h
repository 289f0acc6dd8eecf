#ifndef PRECIS_KERNELS_GPU_NVML_H_
#define PRECIS_KERNELS_GPU_NVML_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"

namespace precis::kernels {

// What the driver says of the whole GPU, other processes included. A field is absent where this GPU or driver does not report it.
struct NvmlSample {
  int64_t memory_used_bytes = 0;
  int64_t memory_total_bytes = 0;
  std::optional<double> power_watts;
  std::optional<double> energy_joules;  // since the driver was loaded
  std::optional<double> gpu_utilisation;     // 0 to 1: share of the last period in which a kernel ran
  std::optional<double> memory_utilisation;  // 0 to 1: share in which memory was read or written
};

// The NVIDIA management library, opened at run time. Thread-safe.
class Nvml {
 public:
  virtual ~Nvml() = default;
  // The GPU with this UUID (GpuInfo::uuid). UNAVAILABLE without the library or the driver, NOT_FOUND if no GPU has it.
  static absl::StatusOr<std::unique_ptr<Nvml>> Open(const std::string& uuid);
  virtual absl::StatusOr<NvmlSample> Read() const = 0;
};

}  // namespace precis::kernels

#endif  // PRECIS_KERNELS_GPU_NVML_H_
