#include "kernels/cpu/simd_avx2.h"

#define PRECIS_ISA avx2
#include "kernels/cpu/isa_body.h"
