#ifndef PRECIS_KERNELS_BACKWARD_TRAIN_LIST_H_
#define PRECIS_KERNELS_BACKWARD_TRAIN_LIST_H_

// The functions behind GpuTrainOps, one file each.

#include "kernels/gpu/train_ops.h"

// Tests that include no kernel code define the namespace themselves.
#ifndef PRECIS_GPU_NS
#include "kernels/cuda/platform/platform.h"
#endif

namespace precis::kernels::PRECIS_GPU_NS {

void FlashBackward(const FlashBackwardArgs& args, Stream stream);
int64_t FlashBackwardWorkspaceBytes(int rows, int heads, int head_dim, bool deterministic);
void StandardAttentionForward(const StandardAttentionArgs& args, Stream stream);
void StandardAttentionBackward(const StandardAttentionArgs& args, Stream stream);
void CrossEntropy(const CrossEntropyArgs& args, Stream stream);
void LayerNormBackward(const LayerNormBackwardArgs& args, Stream stream);
int64_t LayerNormBackwardWorkspaceBytes(int rows, int width);
void ActivationForward(const ActivationArgs& args, Stream stream);
void ActivationBackward(const ActivationBackwardArgs& args, Stream stream);
void BiasBackward(const BiasBackwardArgs& args, Stream stream);
int64_t BiasBackwardWorkspaceBytes(int rows, int width);
void EmbeddingBackward(const EmbeddingBackwardArgs& args, Stream stream);
void Dropout(const DropoutArgs& args, Stream stream);
void Convert(const ConvertArgs& args, Stream stream);
void AdamW(const AdamWArgs& args, Stream stream);
void SquaredNorm(const SquaredNormArgs& args, Stream stream);
int64_t SquaredNormWorkspaceBytes(int64_t count);
void ClipScale(const ClipScaleArgs& args, Stream stream);
void Transpose(const TransposeArgs& args, Stream stream);

const GpuTrainOps& TrainOps(int compute_major);

}  // namespace precis::kernels::PRECIS_GPU_NS

#endif  // PRECIS_KERNELS_BACKWARD_TRAIN_LIST_H_
