#ifndef PRECIS_KERNELS_GPU_CUBLASLT_H_
#define PRECIS_KERNELS_GPU_CUBLASLT_H_

// The part of cuBLASLt that is used, declared here and opened at run time: its binary interface is the same in versions 12 and 13, its headers come with a
// 400 MB package, and a server that links it would not start on a machine without it. Numbers: cublasLt.h, library_types.h.

#include <cstddef>
#include <cstdint>

namespace precis::kernels::cublaslt {

using Handle = void*;
struct Algorithm {
  uint64_t data[8];
};
struct Heuristic {
  Algorithm algorithm;
  size_t workspace_bytes;
  int state;
  float waves;
  int reserved[4];
};

inline constexpr int kTypeF32 = 0, kTypeBf16 = 14;
inline constexpr int kComputeF32 = 68;
inline constexpr int kDescTransA = 3, kDescTransB = 4, kDescEpilogue = 7, kDescBiasPointer = 8, kDescBiasType = 26;
inline constexpr int kEpilogueDefault = 1, kEpilogueBias = 4, kEpilogueGeluBias = 36;
inline constexpr int kPreferenceMaxWorkspace = 1;

struct Library {
  Handle handle;  // of the device that was current at the first Load
  int (*Create)(Handle*);
  int (*MatmulDescCreate)(Handle*, int compute, int scale_type);
  int (*MatmulDescSetAttribute)(Handle, int attribute, const void* value, size_t bytes);
  int (*LayoutCreate)(Handle*, int type, uint64_t rows, uint64_t columns, int64_t leading);
  int (*PreferenceCreate)(Handle*);
  int (*PreferenceDestroy)(Handle);
  int (*PreferenceSetAttribute)(Handle, int attribute, const void* value, size_t bytes);
  int (*Heuristics)(Handle, Handle operation, Handle a, Handle b, Handle c, Handle d, Handle preference, int wanted, Heuristic* results, int* found);
  int (*Matmul)(Handle, Handle operation, const void* alpha, const void* a, Handle a_layout, const void* b, Handle b_layout, const void* beta, const void* c,
                Handle c_layout, void* d, Handle d_layout, const Algorithm* algorithm, void* workspace, size_t workspace_bytes, void* stream);
};

// libcublasLt.so.13, else .12; null where there is neither. Thread-safe.
const Library* Load();
// "libcublasLt.so.13", or why there is none.
const char* LoadedName();

}  // namespace precis::kernels::cublaslt

#endif  // PRECIS_KERNELS_GPU_CUBLASLT_H_
