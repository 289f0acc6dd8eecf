#ifndef PRECIS_KERNELS_CUDA_ATTENTION_SM90_LAUNCH_SM90_H_
#define PRECIS_KERNELS_CUDA_ATTENTION_SM90_LAUNCH_SM90_H_

// Host side of the Hopper attention kernel: arguments to parameters, and the launch.

#include <atomic>
#include <cstdint>

#include "kernels/cuda/attention_sm90/kernel.h"
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
  params.ticket_slot = tickets ? static_cast<int>(launches++ % kTicketSlots) : -1;
  return params;
}

// At most this many items of work: a thread block needs at least one.
inline int64_t MostItems(const GpuAttentionArgs& args) {
  const GpuSequences& s = args.sequences;
  const int64_t by_sequence = static_cast<int64_t>(s.count) * ((s.max_query + kBlockRows - 1) / kBlockRows);
  const int64_t by_total = static_cast<int64_t>(s.total_queries) / kBlockRows + s.count;
  return args.cache.heads * (by_sequence < by_total ? by_sequence : by_total);
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
  config.shared_bytes = static_cast<int>(sizeof(SharedBlock)) + (Policy::kAlibi ? args.cache.heads * kBiasHeadBytes : 0);
  config.stream = stream;
  Launch(&FlashForwardSm90<Policy, Tuning>, config, params);
}

}  // namespace precis::kernels::PRECIS_GPU_NS::sm90

#endif  // PRECIS_KERNELS_CUDA_ATTENTION_SM90_LAUNCH_SM90_H_
