#ifndef PRECIS_KERNELS_GPU_PRODUCT_LIBRARY_H_
#define PRECIS_KERNELS_GPU_PRODUCT_LIBRARY_H_

// Training's products by cuBLASLt with the operands as they lie: the gradients' products need no transposed copies.

#include <cstdint>

#include "kernels/gpu/stream.h"
#include "kernels/train_device.h"

namespace precis::kernels {

inline constexpr int64_t kProductWorkspaceBytes = int64_t{32} << 20;

// False, with nothing done, where the library is missing or does not take these operands: f32, a bias without bias_bf16 or beside a sum, strides that are not
// multiples of 8. `workspace`: kProductWorkspaceBytes on the device. An error of the launch itself is kept in *failed. The algorithm depends on shapes alone.
bool LibraryProduct(const ProductArgs& args, void* workspace, Stream stream, bool* failed);

}  // namespace precis::kernels

#endif  // PRECIS_KERNELS_GPU_PRODUCT_LIBRARY_H_
