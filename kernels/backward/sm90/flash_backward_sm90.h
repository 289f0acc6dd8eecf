#ifndef PRECIS_KERNELS_BACKWARD_SM90_FLASH_BACKWARD_SM90_H_
#define PRECIS_KERNELS_BACKWARD_SM90_FLASH_BACKWARD_SM90_H_

#include "kernels/gpu/train_ops.h"

// Tests that include no kernel code define PRECIS_GPU_NS themselves.
namespace precis::kernels::PRECIS_GPU_NS {

// flash_backward for Hopper: bf16, head size 64. Two passes, one over queries for dQ and delta, one over keys for dK and dV: seven products instead of five, but
// no atomic additions, nothing in shared memory but what is copied there, and the same bits from run to run. 
// With ALiBi pairs out of reach are left out (reach.h).
void FlashBackwardSm90(const FlashBackwardArgs& args, Stream stream);
int64_t FlashBackwardSm90WorkspaceBytes(int rows, int heads);
bool FlashBackwardSm90Takes(const FlashBackwardArgs& args);

}  // namespace precis::kernels::PRECIS_GPU_NS

#endif  // PRECIS_KERNELS_BACKWARD_SM90_FLASH_BACKWARD_SM90_H_
