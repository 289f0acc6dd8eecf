#ifndef PRECIS_KERNELS_CUDA_PLATFORM_PTX_TYPES_H_
#define PRECIS_KERNELS_CUDA_PLATFORM_PTX_TYPES_H_

#include <cstdint>

namespace precis::kernels {

// In shared memory, 8-byte aligned.
struct Mbarrier {
  uint64_t state;
};

// CUtensorMap; on the host the emulator's own record.
struct alignas(64) TensorMap {
  uint64_t opaque[16];
};

enum class Swizzle : uint8_t { kNone, k32, k64, k128 };

}  // namespace precis::kernels

#endif  // PRECIS_KERNELS_CUDA_PLATFORM_PTX_TYPES_H_
