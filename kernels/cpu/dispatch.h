#ifndef PRECIS_KERNELS_CPU_DISPATCH_H_
#define PRECIS_KERNELS_CPU_DISPATCH_H_

#include "kernels/cpu/kernel_table.h"
#include "kernels/device.h"

namespace precis::kernels {

// The kernels compiled for `isa`; the machine must support it.
inline const CpuKernels& KernelsFor(CpuIsa isa) {
#if defined(__x86_64__)
  if (isa == CpuIsa::kAvx512) return avx512::Kernels();
  if (isa == CpuIsa::kAvx2) return avx2::Kernels();
#endif
  return portable::Kernels();
}

}  // namespace precis::kernels

#endif  // PRECIS_KERNELS_CPU_DISPATCH_H_
