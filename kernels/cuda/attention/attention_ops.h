#ifndef PRECIS_KERNELS_CUDA_ATTENTION_ATTENTION_OPS_H_
#define PRECIS_KERNELS_CUDA_ATTENTION_ATTENTION_OPS_H_

// The functions of this folder, one a file, as kernels/gpu/gpu_ops.h describes them. They only enqueue.

#include <cstdint>

#include "kernels/gpu/gpu_ops.h"

namespace precis::kernels::PRECIS_GPU_NS {

void WriteKv(const GpuWriteKvArgs& args, Stream stream);

// flash_prefill for every device from sm_80 on, every head size, bf16 and f32.
void FlashPrefillSm80(const GpuAttentionArgs& args, Stream stream);

void StandardPrefill(const GpuAttentionArgs& args, Stream stream);
int64_t StandardWorkspaceBytes(int heads, int head_dim, int max_query, int max_context, int total_queries, GpuType type);
int StandardChunkRows(int heads, int head_dim, int max_query, int max_context, int total_queries, GpuType type, int64_t workspace_bytes);

void FlashDecode(const GpuAttentionArgs& args, Stream stream);
int64_t DecodeWorkspaceBytes(int heads, int head_dim, int sequences, int max_context);

void StandardDecode(const GpuAttentionArgs& args, Stream stream);

}  // namespace precis::kernels::PRECIS_GPU_NS

#endif  // PRECIS_KERNELS_CUDA_ATTENTION_ATTENTION_OPS_H_
