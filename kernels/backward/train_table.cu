#include "kernels/backward/train_list.h"

namespace precis::kernels::PRECIS_GPU_NS {

const GpuTrainOps& TrainOps() {
  static constexpr GpuTrainOps kOps = {
      .flash_backward = FlashBackward,
      .flash_backward_workspace_bytes = FlashBackwardWorkspaceBytes,
      .cross_entropy = CrossEntropy,
      .layer_norm_backward = LayerNormBackward,
      .layer_norm_backward_workspace_bytes = LayerNormBackwardWorkspaceBytes,
      .activation_forward = ActivationForward,
      .activation_backward = ActivationBackward,
      .bias_backward = BiasBackward,
      .bias_backward_workspace_bytes = BiasBackwardWorkspaceBytes,
      .embedding_backward = EmbeddingBackward,
      .dropout = Dropout,
      .convert = Convert,
      .adamw = AdamW,
      .squared_norm = SquaredNorm,
      .squared_norm_workspace_bytes = SquaredNormWorkspaceBytes,
      .clip_scale = ClipScale,
      .transpose = Transpose,
  };
  return kOps;
}

}  // namespace precis::kernels::PRECIS_GPU_NS
