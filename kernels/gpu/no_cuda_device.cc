#include "kernels/gpu/gpu_device.h"
#include "kernels/gpu/product_library.h"

// For builds without PRECIS_CUDA.
namespace precis::kernels {

absl::StatusOr<std::unique_ptr<GpuDevice>> OpenCudaDevice(int /*ordinal*/) {
  return absl::UnavailableError("this binary was built without CUDA; build it with cmake --preset cuda, or choose --device=cpu");
}
bool BuiltWithCuda() { return false; }
bool LibraryProduct(const ProductArgs& /*args*/, void* /*workspace*/, Stream /*stream*/, bool* /*failed*/) { return false; }

}  // namespace precis::kernels
