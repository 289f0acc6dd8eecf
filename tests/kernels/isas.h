#ifndef PRECIS_TESTS_KERNELS_ISAS_H_
#define PRECIS_TESTS_KERNELS_ISAS_H_

#include <vector>

#include "kernels/device.h"

namespace precis::kernels {

// The instruction sets to test: what this machine has, or the emulated AVX-512 kernels alone in the binaries that link them.
inline std::vector<CpuIsa> TestedIsas() {
#if defined(PRECIS_EMULATED_AVX512)
  return {CpuIsa::kAvx512};
#else
  return SupportedCpuIsas();
#endif
}

}  // namespace precis::kernels

#endif  // PRECIS_TESTS_KERNELS_ISAS_H_
