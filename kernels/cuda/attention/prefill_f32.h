#ifndef PRECIS_KERNELS_CUDA_ATTENTION_PREFILL_F32_H_
#define PRECIS_KERNELS_CUDA_ATTENTION_PREFILL_F32_H_

#include "kernels/gpu/gpu_ops.h"

namespace precis::kernels::PRECIS_GPU_NS {

// flash_prefill in the f32 mode (flash_prefill_f32.cu).
void FlashPrefillF32(const GpuAttentionArgs& args, Stream stream);

}  // namespace precis::kernels::PRECIS_GPU_NS

#endif  // PRECIS_KERNELS_CUDA_ATTENTION_PREFILL_F32_H_
