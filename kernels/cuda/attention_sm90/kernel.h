#ifndef PRECIS_KERNELS_CUDA_ATTENTION_SM90_KERNEL_H_
#define PRECIS_KERNELS_CUDA_ATTENTION_SM90_KERNEL_H_

#include "kernels/cuda/attention_sm90/consumer.h"
#include "kernels/cuda/attention_sm90/layout.h"
#include "kernels/cuda/attention_sm90/producer.h"

namespace precis::kernels::PRECIS_GPU_NS::sm90 {

// What was chosen by measurement: see kernels/lab/NOTES.md.
template <bool kToken = true, bool kHalf = true>
struct TuningOf {
  static constexpr bool kOrdered = kToken;   // warpgroups start their products in turn
  static constexpr bool kHalfTiles = kHalf;  // the last tile is cut to 64 keys where that is enough
};
using ForwardTuning = TuningOf<>;

#ifdef PRECIS_SM90_CODE
PRECIS_DEVICE void InitializeBarriers(SharedBlock& shared) {
  for (int i = 0; i < kItemSlots; ++i) {
    MbarrierInit(&shared.item_full[i], 1);
    MbarrierInit(&shared.item_empty[i], 4 * kConsumers + 1);
  }
  for (int i = 0; i < kQueryBuffers; ++i) {
    MbarrierInit(&shared.query_full[i], 1);
    MbarrierInit(&shared.query_empty[i], 4 * kConsumers);
  }
  for (int i = 0; i < kStages; ++i) {
    MbarrierInit(&shared.key_full[i], 1);
    MbarrierInit(&shared.key_empty[i], 4 * kConsumers);
    MbarrierInit(&shared.value_full[i], 1);
    MbarrierInit(&shared.value_empty[i], 4 * kConsumers);
    MbarrierInit(&shared.value_landed[i], 1);
  }
  MbarrierFenceInit();
}

// What ALiBi's product reads (softmax.h): columns n as rows (n, n, n, 0 ..), and for each head rows (high, middle, low, 0 ..) of its slope in bf16.
PRECIS_DEVICE float Rounded(float value) { return ToFloat(ToBf16(value)); }
PRECIS_DEVICE void WriteBiasOperands(const FlashParams& params, SharedBlock& shared) {
  const int thread = static_cast<int>(threadIdx.x);
  for (int i = thread; i < kBiasColumnBytes / 16; i += kThreads) {  // i / 8 % 2: which half of k
    const float column = i / 8 % 2 == 0 ? static_cast<float>(i / 16 * 8 + i % 8) : 0.0f;
    Store16(shared.bias_columns + 16 * i, Vec16{{PackBf16(column, column), PackBf16(column, 0.0f), 0, 0}});
  }
  for (int i = thread; i < params.heads * (kBiasHeadBytes / 16); i += kThreads) {
    const float slope = i / 8 % 2 == 0 ? params.alibi_slopes[i / 16] / params.scale : 0.0f;
    const float high = Rounded(slope), middle = Rounded(slope - high), low = Rounded(slope - high - middle);
    Store16(shared.bias_heads() + 16 * i, Vec16{{PackBf16(high, middle), PackBf16(low, 0.0f), 0, 0}});
  }
  FenceProxyAsync();
}

template <bool kAlibi>
PRECIS_DEVICE void RunProducer(const FlashParams& params, SharedBlock& shared) {
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  if (warp == 0) {
    Producer<kAlibi>(params, shared, lane).Run();
    if (params.ticket_slot >= 0 && lane == 0) LeaveTickets(params.ticket_slot);
  } else if (warp == 1) {
    ValuePatcher<kAlibi>(shared, lane).Run();
  }
}

#endif  // PRECIS_SM90_CODE

template <class Policy, class Tuning>
PRECIS_KERNEL(kThreads, 1) FlashForwardSm90(const PRECIS_GRID_CONSTANT FlashParams params) {
#ifdef PRECIS_SM90_CODE
  SharedBlock& shared = *reinterpret_cast<SharedBlock*>(DynamicShared());
  if (threadIdx.x == 0) {
    PrefetchTensorMap(&params.query_map);
    PrefetchTensorMap(&params.cache_map);
    InitializeBarriers(shared);
  }
  if constexpr (Policy::kAlibi) WriteBiasOperands(params, shared);
  SyncThreads();
  GridDependencyWait();
  GridDependencyLaunch();
  const int warpgroup = ShuffleIdx(static_cast<int>(threadIdx.x) / kWarpgroup, 0);
  if (warpgroup == 0) {
    SetMaxRegistersDecrease<32>();
    RunProducer<Policy::kAlibi>(params, shared);
  } else {
    SetMaxRegistersIncrease<160>();
    Consumer<Policy, Tuning>(params, shared, warpgroup - 1, static_cast<int>(threadIdx.x) % kWarpgroup).Run();
  }
#endif  // PRECIS_SM90_CODE
}

}  // namespace precis::kernels::PRECIS_GPU_NS::sm90

#endif  // PRECIS_KERNELS_CUDA_ATTENTION_SM90_KERNEL_H_
