#ifndef PRECIS_KERNELS_GPU_CUBLAS_H_
#define PRECIS_KERNELS_GPU_CUBLAS_H_

// The part of cuBLAS that is used (batched products of standard attention), declared here and opened at run time like cublaslt.h. Numbers: cublas_api.h,
// library_types.h.

namespace precis::kernels::cublas {

using Handle = void*;

inline constexpr int kNotTransposed = 0, kTransposed = 1;
inline constexpr int kTypeBf16 = 14, kComputeF32 = 68, kDefaultAlgorithm = -1;

struct Library {
  Handle handle;  // of the device that was current at the first Load
  int (*Create)(Handle*);
  int (*SetStream)(Handle, void* stream);
  // C = alpha op(A) op(B) + beta C, column-major, `batch` of them.
  int (*GemmStridedBatchedEx)(Handle, int trans_a, int trans_b, int m, int n, int k, const void* alpha, const void* a, int a_type, int lda, long long a_stride,
                              const void* b, int b_type, int ldb, long long b_stride, const void* beta, void* c, int c_type, int ldc, long long c_stride,
                              int batch, int compute, int algorithm);
};

// libcublas.so.13, else .12; null where there is neither. Thread-safe.
const Library* Load();

}  // namespace precis::kernels::cublas

#endif  // PRECIS_KERNELS_GPU_CUBLAS_H_
