#ifndef PRECIS_KERNELS_SIMT_MBARRIER_STATE_H_
#define PRECIS_KERNELS_SIMT_MBARRIER_STATE_H_

#include <cstdint>

#include "kernels/cuda/platform/ptx_types.h"

namespace precis::kernels::simt {

// An mbarrier's 64 bits on the host. A phase ends when nobody is missing and no bytes are.
struct MbarrierState {
  uint16_t expected;       // arrivals of a phase
  uint16_t missing : 15;   // of the current one
  uint16_t phase : 1;      // parity of the current one
  int32_t bytes;           // still to come
};
static_assert(sizeof(MbarrierState) == sizeof(Mbarrier));

MbarrierState Read(const Mbarrier& bar);
// The phase of this parity is over.
bool PhaseEnded(const Mbarrier& bar, int parity);
void CompleteBytes(Mbarrier& bar, int64_t bytes);

}  // namespace precis::kernels::simt

#endif  // PRECIS_KERNELS_SIMT_MBARRIER_STATE_H_
