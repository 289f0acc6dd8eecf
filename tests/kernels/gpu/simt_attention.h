#ifndef PRECIS_TESTS_KERNELS_GPU_SIMT_ATTENTION_H_
#define PRECIS_TESTS_KERNELS_GPU_SIMT_ATTENTION_H_

// The SIMT build's attention functions for tests, which include no kernel code.

#define PRECIS_GPU_NS simt
#include "kernels/cuda/attention/attention_ops.h"
#undef PRECIS_GPU_NS

namespace precis::kernels::simt {

// Of kernels/simt/simt_launch.h, which only kernel code can include: the seed of the order in which the next grids' threads and blocks run.
void SetSeed(uint64_t seed);

}  // namespace precis::kernels::simt

#endif  // PRECIS_TESTS_KERNELS_GPU_SIMT_ATTENTION_H_
