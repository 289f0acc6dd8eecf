#ifndef PRECIS_KERNELS_CUDA_OPS_LIST_H_
#define PRECIS_KERNELS_CUDA_OPS_LIST_H_

// The functions behind GpuOps, one file each; kernels/gpu/gpu_ops.h says what they compute. They only enqueue. Attention: attention/attention_ops.h,
// attention_sm90/flash_sm90.h.

#include <cstdint>

#include "kernels/cuda/platform/platform.h"
#include "kernels/gpu/gpu_ops.h"

namespace precis::kernels::PRECIS_GPU_NS {

void Embed(const EmbedArgs& args, Stream stream);
void LayerNorm(const LayerNormArgs& args, Stream stream);
void Sample(const GpuSampleArgs& args, Stream stream);
int64_t SampleWorkspaceBytes(int rows, int vocab);

// Products. These two choose among the others; GemmHopper for compute capability 9.x.
void Gemm(const GemmArgs& args, Stream stream);
void GemmHopper(const GemmArgs& args, Stream stream);
int64_t GemmWorkspaceBytes(int m, int n, int k, GemmMode mode);
// Any size and type, one fused multiply-add after the other: the f32 mode, and sizes that the others don't take.
void GemmSimple(const GemmArgs& args, Stream stream);
// bf16 activations, k a multiple of 8 (int8 weights: 16), rows 16-byte aligned. All three give the same bits.
void GemmTile(const GemmArgs& args, Stream stream);
bool GemmWgmma(const GemmArgs& args, Stream stream);   // false for int8 weights and some activations: nothing was enqueued then
void GemmDecode(const GemmArgs& args, Stream stream);  // m <= 64
bool GemmTakes(const GemmArgs& args);
void FusedNormGemm(const GemmArgs& args, Stream stream);
bool FusedNormGemmTakes(const GemmArgs& args);
// y = activation(y + bias), [m][n] in bf16 or f32: after a product of the library.
void BiasActivation(const GemmArgs& args, Stream stream);
// cuBLASLt. False where there is none, or it has no algorithm for these arguments: nothing was enqueued then.
bool GemmLibrary(const GemmArgs& args, Stream stream);

// The table for a device of this compute capability.
const GpuOps& Ops(int compute_major);

}  // namespace precis::kernels::PRECIS_GPU_NS

#endif  // PRECIS_KERNELS_CUDA_OPS_LIST_H_
