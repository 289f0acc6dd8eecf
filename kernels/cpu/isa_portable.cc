#include "kernels/cpu/simd_portable.h"

#define PRECIS_ISA portable
#include "kernels/cpu/isa_body.h"
