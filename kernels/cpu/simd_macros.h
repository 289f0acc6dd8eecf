#ifndef PRECIS_KERNELS_CPU_SIMD_MACROS_H_
#define PRECIS_KERNELS_CPU_SIMD_MACROS_H_

#define PRECIS_INLINE [[gnu::always_inline]] inline

// Short loops over registers must be unrolled for the arrays to live in registers.
#if defined(__clang__)
#define PRECIS_UNROLL _Pragma("clang loop unroll(full)")
#else
#define PRECIS_UNROLL _Pragma("GCC unroll 32")
#endif

#endif  // PRECIS_KERNELS_CPU_SIMD_MACROS_H_
