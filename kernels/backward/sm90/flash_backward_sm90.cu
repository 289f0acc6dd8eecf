#include "kernels/backward/sm90/engine.h"

#include <algorithm>
#include <atomic>

#include "kernels/backward/sm90/flash_backward_sm90.h"
#include "kernels/backward/sm90/stream.h"
#include "kernels/cuda/platform/launch.h"
#include "kernels/cuda/platform/multiprocessors.h"
#include "kernels/cuda/platform/tensor_map.h"

namespace precis::kernels::PRECIS_GPU_NS {
namespace {

bool EncodeMap(const void* base, int columns, int64_t stride, int rows, TensorMap* map) {
  return MakeRowsMap(base, rows, columns, stride, sm90::kStreamRows, sm90::kHeadDim, map);
}

int TicketSlot() {
  static std::atomic<unsigned> launches{0};
  return static_cast<int>(launches++ % sm90::kTicketSlots);
}

template <bool kKeys, class Policy>
void Pass(sm90::BackwardParams params, Stream stream) {
  using Shape = sm90::BackwardShape<kKeys>;
  params.ticket_slot = TicketSlot();
  const int64_t blocks = (params.args.max_length + Shape::kOwnBlock - 1) / Shape::kOwnBlock;
  LaunchConfig config;
  config.grid = {std::min<int64_t>(Multiprocessors(2), blocks * params.args.heads * params.args.sequences), 1, 1};
  config.dependent = true;
  config.block = {Shape::kThreads, 1, 1};
  config.shared_bytes = static_cast<int>(sizeof(sm90::BackwardShared));
  config.stream = stream;
  Launch(&sm90::FlashBackwardSm90<kKeys, Policy>, config, params);
}

void LaunchBounds(const FlashBackwardArgs& args, Stream stream) {
  LaunchConfig config;
  config.grid = {sm90::BoundChunks(args.rows), args.heads, 1};
  config.block = {sm90::kNormThreads, 1, 1};
  config.shared_bytes = 3 * sm90::kNormThreads / 32 * static_cast<int>(sizeof(float));
  config.stream = stream;
  config.dependent = true;
  Launch(&sm90::RowBoundsSm90, config, args);
}

template <class Policy>
void Run(const sm90::BackwardParams& params, Stream stream) {
  if (Policy::kAlibi && params.args.max_length >= sm90::kBackwardReach) LaunchBounds(params.args, stream);
  Pass<false, Policy>(params, stream);
  Pass<true, Policy>(params, stream);
}

}  // namespace

int64_t FlashBackwardSm90WorkspaceBytes(int rows, int heads) {
  return int64_t{sizeof(float)} * heads * (int64_t{rows} + 3 * sm90::BoundChunks(rows));
}

bool FlashBackwardSm90Takes(const FlashBackwardArgs& args) {
  return args.type == GpuType::kBf16 && args.head_dim == sm90::kHeadDim && args.qkv_stride % 8 == 0 && args.output_stride % 8 == 0;
}

void FlashBackwardSm90(const FlashBackwardArgs& args, Stream stream) {
  if (args.sequences == 0 || args.max_length == 0) return;
  sm90::BackwardParams params;
  params.args = args;
  const int width = args.heads * args.head_dim;
  if (!EncodeMap(args.qkv, 3 * width, args.qkv_stride, args.rows, &params.qkv_map)) return;
  if (!EncodeMap(args.d_output, width, args.output_stride, args.rows, &params.d_output_map)) return;
  args.alibi_slopes != nullptr ? Run<sm90::AlibiPolicy>(params, stream) : Run<sm90::LearnedPolicy>(params, stream);
}

}  // namespace precis::kernels::PRECIS_GPU_NS
