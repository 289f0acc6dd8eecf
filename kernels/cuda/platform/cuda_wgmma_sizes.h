#ifndef PRECIS_KERNELS_CUDA_PLATFORM_CUDA_WGMMA_SIZES_H_
#define PRECIS_KERNELS_CUDA_PLATFORM_CUDA_WGMMA_SIZES_H_

// For products: more widths of wgmma, both operands in shared memory, and sums that are added in memory.

#include "kernels/cuda/platform/cuda_wgmma.h"

namespace precis::kernels::cuda {

PRECIS_DEVICE void ReduceAdd2(float* to, float first, float second) {
  asm volatile("red.relaxed.gpu.global.add.v2.f32 [%0], {%1, %2};" ::"l"(to), "f"(first), "f"(second) : "memory");
}

template <bool kTransposeB>
struct Wgmma<16, kTransposeB> {
  PRECIS_DEVICE static void Shared(float (&d)[8], uint64_t a, uint64_t b, int accumulate) {
    asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %10, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n16k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7"
      "}, %8, %9, p, 1, 1, 0, %11;\n}\n"
      :
      "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7])
      : "l"(a), "l"(b), "r"(accumulate), "n"(kTransposeB ? 1 : 0));
  }
};

template <bool kTransposeB>
struct Wgmma<32, kTransposeB> {
  PRECIS_DEVICE static void Shared(float (&d)[16], uint64_t a, uint64_t b, int accumulate) {
    asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %18, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n32k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15"
      "}, %16, %17, p, 1, 1, 0, %19;\n}\n"
      :
      "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]),
      "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15])
      : "l"(a), "l"(b), "r"(accumulate), "n"(kTransposeB ? 1 : 0));
  }
};

}  // namespace precis::kernels::cuda

#endif  // PRECIS_KERNELS_CUDA_PLATFORM_CUDA_WGMMA_SIZES_H_
