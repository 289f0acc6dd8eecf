#include <string>
#include <utility>

#include "kernels/gpu/gpu_device.h"
#include "runtime/model/gpu_runner.h"
#include "runtime/model/text.h"

namespace precis::runtime {

absl::StatusOr<std::shared_ptr<kernels::GpuDevice>> OpenDevice(std::string_view name, std::string* why_cpu) {
  if (name == "cpu") return std::shared_ptr<kernels::GpuDevice>();
  if (name == "simt") return std::shared_ptr<kernels::GpuDevice>(kernels::OpenSimtDevice({.memory_bytes = int64_t{8} << 30}));
  int ordinal = 0;
  if (name.substr(0, 5) == "cuda:") {
    const std::string_view digits = name.substr(5);
    if (digits.empty() || digits.size() > 3 || digits.find_first_not_of("0123456789") != std::string_view::npos) {
      return absl::InvalidArgumentError(Cat("--device=", name, ": expected cuda:N with the number of a GPU, such as cuda:0"));
    }
    for (char digit : digits) ordinal = ordinal * 10 + (digit - '0');
  } else if (name != "cuda" && name != "auto") {
    return absl::InvalidArgumentError(Cat("--device=", name, ": expected cpu, cuda, cuda:N, simt or auto"));
  }
  absl::StatusOr<std::unique_ptr<kernels::GpuDevice>> device = kernels::OpenCudaDevice(ordinal);
  if (device.ok()) return std::shared_ptr<kernels::GpuDevice>(*std::move(device));
  if (name != "auto") return absl::Status(device.status().code(), Cat("--device=", name, ": ", device.status().message()));
  *why_cpu = std::string(device.status().message());
  return std::shared_ptr<kernels::GpuDevice>();
}

}  // namespace precis::runtime
