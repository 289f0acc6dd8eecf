#include "kernels/cuda/ops_list.h"

#include "kernels/cuda/attention/attention_ops.h"
#include "kernels/cuda/attention_sm90/flash_sm90.h"

namespace precis::kernels::PRECIS_GPU_NS {
namespace {

void FlashPrefillHopper(const GpuAttentionArgs& args, Stream stream) {
  FlashPrefillSm90Takes(args) ? FlashPrefillSm90(args, stream) : FlashPrefillSm80(args, stream);
}

int64_t NoWorkspace(int, int, int, int, int, bool) { return 0; }

constexpr GpuOps Table(void (*gemm)(const GemmArgs&, Stream), void (*flash_prefill)(const GpuAttentionArgs&, Stream),
                       int64_t (*workspace_bytes)(int, int, int, int, int, bool)) {
  return {
      .embed = Embed,
      .layer_norm = LayerNorm,
      .gemm = gemm,
      .gemm_workspace_bytes = GemmWorkspaceBytes,
      .write_kv = WriteKv,
      .flash_prefill = flash_prefill,
      .flash_prefill_workspace_bytes = workspace_bytes,
      .standard_prefill = StandardPrefill,
      .standard_workspace_bytes = StandardWorkspaceBytes,
      .standard_chunk_rows = StandardChunkRows,
      .flash_decode = FlashDecode,
      .standard_decode = StandardDecode,
      .decode_workspace_bytes = DecodeWorkspaceBytes,
      .sample = Sample,
      .sample_workspace_bytes = SampleWorkspaceBytes,
      .fused_norm_gemm = FusedNormGemm,
      .fused_norm_gemm_takes = FusedNormGemmTakes,
  };
}

}  // namespace

// wgmma exists on compute capability 9.x alone.
const GpuOps& Ops(int compute_major) {
  static constexpr GpuOps kAmpere = Table(Gemm, FlashPrefillSm80, NoWorkspace);
  static constexpr GpuOps kHopper = Table(GemmHopper, FlashPrefillHopper, FlashPrefillSm90WorkspaceBytes);
  return compute_major == 9 ? kHopper : kAmpere;
}

}  // namespace precis::kernels::PRECIS_GPU_NS
