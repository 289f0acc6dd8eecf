#include "kernels/cpu/simd_avx512.h"

#define PRECIS_ISA avx512
#include "kernels/cpu/isa_body.h"
