#include "kernels/gpu/gpu_device.h"

// For builds without PRECIS_CUDA.
namespace precis::kernels {

absl::StatusOr<std::unique_ptr<GpuDevice>> OpenCudaDevice(int /*ordinal*/) {
  return absl::UnavailableError("this binary was built without CUDA; build it with cmake --preset cuda, or choose --device=cpu");
}
bool BuiltWithCuda() { return false; }

}  // namespace precis::kernels
