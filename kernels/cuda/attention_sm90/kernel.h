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

PRECIS_DEVICE void RunProducer(const FlashParams& params, SharedBlock& shared) {
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  if (warp == 0) {
    Producer(params, shared, lane).Run();
    if (params.ticket_slot >= 0 && lane == 0) LeaveTickets(params.ticket_slot);
  } else if (warp == 1) {
    ValuePatcher(shared, lane).Run();
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
  SyncThreads();
  GridDependencyWait();
  GridDependencyLaunch();
  const int warpgroup = ShuffleIdx(static_cast<int>(threadIdx.x) / kWarpgroup, 0);
  if (warpgroup == 0) {
    SetMaxRegistersDecrease<32>();
    RunProducer(params, shared);
  } else {
    SetMaxRegistersIncrease<160>();
    Consumer<Policy, Tuning>(params, shared, warpgroup - 1, static_cast<int>(threadIdx.x) % kWarpgroup).Run();
  }
#endif  // PRECIS_SM90_CODE
}

}  // namespace precis::kernels::PRECIS_GPU_NS::sm90

#endif  // PRECIS_KERNELS_CUDA_ATTENTION_SM90_KERNEL_H_
