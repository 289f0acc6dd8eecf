// Version 4: cp.async brings the next tile while this one is used, and each fragment of K and V serves two row tiles, which halves the shared-memory reads a
// product. What is left: the softmax of a warp and its products take turns, and a warp's products go through registers at the rate of mma.sync, about 60%
// of what wgmma reaches on Hopper (versions 5 and 6: kernels/cuda/attention_sm90).

#include "kernels/lab/mma_flash.h"

namespace precis::kernels::PRECIS_GPU_NS {

void AsyncAttention(const LabArgs& args, Stream stream) { RunMmaFlash<MmaFlashShape<2, 2>>(args, stream); }

}  // namespace precis::kernels::PRECIS_GPU_NS
