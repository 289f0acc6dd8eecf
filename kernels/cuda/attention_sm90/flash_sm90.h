#ifndef PRECIS_KERNELS_CUDA_ATTENTION_SM90_FLASH_SM90_H_
#define PRECIS_KERNELS_CUDA_ATTENTION_SM90_FLASH_SM90_H_

#include "kernels/gpu/gpu_ops.h"
#include "kernels/gpu/stream.h"

// Tests that include no kernel code define PRECIS_GPU_NS themselves.
namespace precis::kernels::PRECIS_GPU_NS {

// Causal attention over paged keys and values for Hopper, bf16, head size 64; see GpuAttentionArgs for shapes. Any mix of sequences, prefixes and chunk
// sizes; a row's result depends on the row alone, bit for bit: key tiles stand at absolute positions and are summed in rising order.
//
// The method is FlashAttention-3's (Shah et al. 2024): TMA loads by a producer warp, wgmma by three consumer warpgroups that take turns, softmax overlapped
// with both products. ALiBi is one more step of the first product; with a workspace, tiles out of ALiBi's reach are left out (reach.h): the same bits. Launches that run at the same time must be fewer than 64.
void FlashPrefillSm90(const GpuAttentionArgs& args, Stream stream);
int64_t FlashPrefillSm90WorkspaceBytes(int heads, int head_dim, int sequences, int max_query, int max_context, bool alibi);
// Whether FlashPrefillSm90 takes these.
bool FlashPrefillSm90Takes(const GpuAttentionArgs& args);

}  // namespace precis::kernels::PRECIS_GPU_NS

#endif  // PRECIS_KERNELS_CUDA_ATTENTION_SM90_FLASH_SM90_H_
