#include "kernels/backward/train_list.h"

#include <algorithm>

#include "kernels/backward/sm90/flash_backward_sm90.h"
#include "kernels/cuda/platform/platform.h"

namespace precis::kernels::PRECIS_GPU_NS {
namespace {

void FlashBackwardHopper(const FlashBackwardArgs& args, Stream stream) {
  FlashBackwardSm90Takes(args) ? FlashBackwardSm90(args, stream) : FlashBackward(args, stream);
}

// Either engine's may be needed.
int64_t WorkspaceBytesHopper(int rows, int heads, int head_dim, bool deterministic) {
  return std::max(FlashBackwardSm90WorkspaceBytes(rows, heads), FlashBackwardWorkspaceBytes(rows, heads, head_dim, deterministic));
}

constexpr GpuTrainOps Table(void (*flash_backward)(const FlashBackwardArgs&, Stream), int64_t (*workspace_bytes)(int, int, int, bool)) {
  return {
      .flash_backward = flash_backward,
      .flash_backward_workspace_bytes = workspace_bytes,
      .standard_attention_forward = StandardAttentionForward,
      .standard_attention_backward = StandardAttentionBackward,
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
}

}  // namespace

// wgmma exists on compute capability 9.x alone.
const GpuTrainOps& TrainOps(int compute_major) {
  static constexpr GpuTrainOps kAmpere = Table(FlashBackward, FlashBackwardWorkspaceBytes);
  static constexpr GpuTrainOps kHopper = Table(FlashBackwardHopper, WorkspaceBytesHopper);
  return compute_major == 9 ? kHopper : kAmpere;
}

}  // namespace precis::kernels::PRECIS_GPU_NS
