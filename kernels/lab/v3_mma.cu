// Version 3: matrix units. One row tile a warp, one buffer: a block waits for its keys and values, then computes. Each 16 x 16 operand fragment that is
// read from shared memory (512 bytes, 4 clocks) feeds one pair of m16n8k16 (2 clocks of the SM's matrix units): reading operands takes the longer.

#include "kernels/lab/mma_flash.h"

namespace precis::kernels::PRECIS_GPU_NS {

void MmaAttention(const LabArgs& args, Stream stream) { RunMmaFlash<MmaFlashShape<1, 1>>(args, stream); }

}  // namespace precis::kernels::PRECIS_GPU_NS
