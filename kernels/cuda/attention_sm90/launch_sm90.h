#ifndef PRECIS_KERNELS_CUDA_ATTENTION_SM90_LAUNCH_SM90_H_
#define PRECIS_KERNELS_CUDA_ATTENTION_SM90_LAUNCH_SM90_H_

// Host side of the Hopper attention kernel: arguments to parameters, and the launch.

#include <atomic>
#include <cstdint>

#include "kernels/cuda/attention_sm90/kernel.h"
#include "kernels/cuda/attention_sm90/reach.h"
#include "kernels/cuda/attention_sm90/tensor_maps.h"
#include "kernels/cuda/platform/launch.h"
#include "kernels/gpu/gpu_ops.h"

namespace precis::kernels::PRECIS_GPU_NS::sm90 {

inline FlashParams MakeParams(const GpuAttentionArgs& args, bool tickets) {
  static std::atomic<unsigned> launches{0};
  FlashParams params;
  params.query_begin = args.sequences.query_begin;
  params.query_count = args.sequences.query_count;
  params.context_length = args.sequences.context_length;
  params.block_table = args.sequences.block_table;
  params.output = static_cast<Bf16*>(args.output);
  params.log_sum_exp = args.log_sum_exp;
  params.alibi_slopes = args.alibi_slopes;
  params.output_stride = args.output_stride;
  params.log_sum_exp_stride = args.qkv_rows;
  params.block_table_stride = args.sequences.block_table_stride;
  params.sequences = args.sequences.count;
  params.heads = args.cache.heads;
  params.key_part = args.cache.key_part;
  params.scale = args.scale;
  params.norms = nullptr;
  params.norm_tiles = params.norm_chunks = 0;
  params.ticket_slot = tickets ? static_cast<int>(launches++ % kTicketSlots) : -1;
  return params;
}

// At most this many items of work: a thread block needs at least one.
inline int64_t MostItems(const GpuAttentionArgs& args) {
  const GpuSequences& s = args.sequences;
  const int64_t by_sequence = static_cast<int64_t>(s.count) * BlockCount(s.max_query);
  const int64_t by_total = static_cast<int64_t>(s.total_queries) / kBlockRows + s.count;
  return args.cache.heads * (by_sequence < by_total ? by_sequence : by_total);
}

// ALiBi's reach is worth two passes over queries and keys from this context on.
inline constexpr int kReachContext = 2048;

inline int NormTiles(int max_context) { return (max_context + kTileKeys - 1) / kTileKeys; }
inline int NormChunks(int max_query) { return (max_query + kNormRows - 1) / kNormRows; }
inline int64_t ReachBytes(int heads, int sequences, int max_query, int max_context) {
  if (max_context < kReachContext) return 0;
  return int64_t{sizeof(float)} * heads * sequences * (NormTiles(max_context) + NormChunks(max_query));
}

// Enqueues the norms where the workspace holds them.
inline void LaunchNorms(const GpuAttentionArgs& args, FlashParams* params, Stream stream) {
  const GpuSequences& s = args.sequences;
  const int64_t bytes = ReachBytes(args.cache.heads, s.count, s.max_query, s.max_context);
  if (bytes == 0 || args.workspace == nullptr || args.workspace_bytes < bytes) return;
  NormParams norms;
  norms.qkv = static_cast<const Bf16*>(args.qkv);
  norms.qkv_stride = args.qkv_stride;
  norms.keys = args.cache.keys;
  norms.page_stride = args.cache.page_stride;
  norms.query_begin = s.query_begin;
  norms.query_count = s.query_count;
  norms.context_length = s.context_length;
  norms.block_table = s.block_table;
  norms.block_table_stride = s.block_table_stride;
  norms.norm_tiles = params->norm_tiles = NormTiles(s.max_context);
  norms.norm_chunks = params->norm_chunks = NormChunks(s.max_query);
  params->norms = norms.norms = static_cast<float*>(args.workspace);
  LaunchConfig config;
  config.grid = {norms.norm_tiles + norms.norm_chunks, args.cache.heads, s.count};
  config.block = {kNormThreads, 1, 1};
  config.shared_bytes = kNormThreads / 32 * static_cast<int>(sizeof(float));
  config.stream = stream;
  config.dependent = true;
  Launch(&NormsSm90, config, norms);
}

template <class Policy, class Tuning>
void LaunchForward(const GpuAttentionArgs& args, int multiprocessors, bool tickets, Stream stream) {
  const int64_t items = MostItems(args);
  if (items <= 0) return;
  FlashParams params = MakeParams(args, tickets);
  if (!EncodeQueryMap(args, &params.query_map) || !EncodeCacheMap(args.cache, &params.cache_map)) return;
  LaunchConfig config;
  config.grid = {static_cast<int>(items < multiprocessors ? items : multiprocessors), 1, 1};
  config.block = {kThreads, 1, 1};
  config.shared_bytes = static_cast<int>(sizeof(SharedBlock)) + (Policy::kAlibi ? BiasBytes(args.cache.heads) : 0);
  config.stream = stream;
  config.dependent = true;
  if (Policy::kAlibi) LaunchNorms(args, &params, stream);
  Launch(&FlashForwardSm90<Policy, Tuning>, config, params);
}

}  // namespace precis::kernels::PRECIS_GPU_NS::sm90

#endif  // PRECIS_KERNELS_CUDA_ATTENTION_SM90_LAUNCH_SM90_H_
