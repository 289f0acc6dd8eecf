#ifndef PRECIS_TESTS_KERNELS_GPU_SIMT_ATTENTION_H_
#define PRECIS_TESTS_KERNELS_GPU_SIMT_ATTENTION_H_

// The SIMT build's attention functions for tests, which include no kernel code.

#define PRECIS_GPU_NS simt
#include "kernels/cuda/attention/attention_ops.h"
#undef PRECIS_GPU_NS

namespace precis::kernels {

// Seed of the order in which the SIMT device runs threads and blocks.
void SetSimtSeed(uint64_t seed);

}  // namespace precis::kernels

#endif  // PRECIS_TESTS_KERNELS_GPU_SIMT_ATTENTION_H_
