#ifndef PRECIS_KERNELS_CUDA_ATTENTION_SM90_PRODUCER_H_
#define PRECIS_KERNELS_CUDA_ATTENTION_SM90_PRODUCER_H_

// The loading warpgroup. Warp 0 hands out work and starts every copy; warp 1 clears the rows of a value tile that lie past the context. The other two
// warps only lend their registers.

#include "kernels/cuda/attention_sm90/layout.h"
#include "kernels/cuda/attention_sm90/reach.h"
#include "kernels/cuda/attention_sm90/schedule.h"

#ifdef PRECIS_SM90_CODE
namespace precis::kernels::PRECIS_GPU_NS::sm90 {

template <bool kAlibi>
class Producer {
 public:
  PRECIS_DEVICE Producer(const FlashParams& params, SharedBlock& shared, int lane) : params_(params), shared_(shared), lane_(lane) {}

  PRECIS_DEVICE void Run() {
    LongestFirst order(params_, shared_.schedule, lane_);
    PRECIS_NO_UNROLL
    for (;; slot_.Advance()) {
      Publish(order.Next());
      if (item().head < 0) return;
      LoadItem();
    }
  }

 private:
  PRECIS_DEVICE void Publish(const WorkItem& found) {
    MbarrierWait(&shared_.item_empty[slot_.index], slot_.phase ^ 1);
    if (lane_ == 0) shared_.items[slot_.index] = found;
    SyncWarp();
    if (kAlibi && params_.norms != nullptr && item().head >= 0) {
      const int first = FirstTile(params_, item(), lane_);
      if (lane_ == 0) shared_.items[slot_.index].first_tile = first;
    }
    if (lane_ == 0) MbarrierArrive(&shared_.item_full[slot_.index]);
    SyncWarp();
  }
  PRECIS_DEVICE const WorkItem& item() const { return shared_.items[slot_.index]; }

  // Keys one tile ahead of values, the order in which they are read.
  PRECIS_DEVICE void LoadItem() {
    const int tiles = item().tiles, first = kAlibi ? item().first_tile : 0;
    const bool patched = tiles * kTileKeys > item().context;
    const int pages = (Min(tiles * kTileKeys, item().context) + kPageTokens - 1) / kPageTokens;
    int page = -1;
    PRECIS_NO_UNROLL
    for (int tile = first; tile <= tiles; ++tile) {
      const int next = PageOf(pages, tile);
      if (tile < tiles) LoadKeys(next, Min(pages - tile * kPagesPerTile, kPagesPerTile));
      if (tile == first) LoadQueries();
      if (tile > first) LoadValues(page, Min(pages - (tile - 1) * kPagesPerTile, kPagesPerTile), patched && tile == tiles);
      page = next;
    }
  }

  // The page that this lane loads of a tile, or -1.
  PRECIS_DEVICE int PageOf(int pages, int tile) const {
    const int number = tile * kPagesPerTile + lane_;
    if (lane_ >= kPagesPerTile || number >= pages) return -1;
    return params_.block_table[static_cast<int64_t>(item().sequence) * params_.block_table_stride + number];
  }

  // All three groups' rows, also where the block has fewer: rows past its end belong to others or to nobody and are never stored.
  PRECIS_DEVICE void LoadQueries() {
    const int buffer = query_.index;
    MbarrierWait(&shared_.query_empty[buffer], query_.phase ^ 1);
    if (lane_ == 0) {
      MbarrierArriveExpectTx(&shared_.query_full[buffer], kConsumers * kGroupBytes);
      PRECIS_NO_UNROLL
      for (int group = 0; group < kConsumers; ++group) {
        TmaLoad2d(shared_.query[buffer][group], &params_.query_map, &shared_.query_full[buffer], item().head * kHeadDim,
                  item().output_row + group * kGroupRows);
      }
    }
    SyncWarp();
    query_.Advance();
  }

  PRECIS_DEVICE void LoadKeys(int page, int count) {
    MbarrierWait(&shared_.key_empty[key_.index], key_.phase ^ 1);
    LoadTile(shared_.keys[key_.index], &shared_.key_full[key_.index], params_.key_part, page, count);
    key_.Advance();
  }

  PRECIS_DEVICE void LoadValues(int page, int count, bool patched) {
    MbarrierWait(&shared_.value_empty[value_.index], value_.phase ^ 1);
    Mbarrier* barrier = patched ? &shared_.value_landed[value_.index] : &shared_.value_full[value_.index];
    LoadTile(shared_.values[value_.index], barrier, params_.key_part + 1, page, count);
    value_.Advance();
  }

  // `count` pages, one a lane.
  PRECIS_DEVICE void LoadTile(char* tile, Mbarrier* barrier, int part, int page, int count) {
    if (lane_ == 0) MbarrierArriveExpectTx(barrier, kPageBytes * count);
    SyncWarp();
    if (page >= 0) TmaLoad5d(tile + lane_ * kPageBytes, &params_.cache_map, barrier, 0, 0, item().head, part, page);
    SyncWarp();
  }

  const FlashParams& params_;
  SharedBlock& shared_;
  const int lane_;
  Ring<kItemSlots> slot_;
  Ring<kQueryBuffers> query_;
  Ring<kStages> key_, value_;
};

// Value rows past the context may hold anything, NaN too, and the matrix unit multiplies them by probability 0: they are set to 0 here, after the copy has
// landed and before the tile counts as full.
template <bool kAlibi>
class ValuePatcher {
 public:
  PRECIS_DEVICE ValuePatcher(SharedBlock& shared, int lane) : shared_(shared), lane_(lane) {}

  PRECIS_DEVICE void Run() {
    Ring<kItemSlots> slot;
    for (;;) {
      MbarrierWait(&shared_.item_full[slot.index], slot.phase);
      const WorkItem item = shared_.items[slot.index];
      SyncWarp();
      if (lane_ == 0) MbarrierArrive(&shared_.item_empty[slot.index]);
      slot.Advance();
      if (item.head < 0) return;
      value_.Advance(item.tiles - (kAlibi ? item.first_tile : 0) - 1);
      if (item.tiles * kTileKeys > item.context) Patch(item.context - (item.tiles - 1) * kTileKeys);
      value_.Advance(1);
    }
  }

 private:
  PRECIS_DEVICE void Patch(int rows) {
    const int stage = value_.index;
    MbarrierWait(&shared_.value_landed[stage], (landed_ >> stage) & 1);
    landed_ ^= 1 << stage;
    const Vec16 zero = {{0, 0, 0, 0}};
    for (int offset = rows * kHeadDim * 2 + lane_ * 16; offset < kTileBytes; offset += 32 * 16) Store16(shared_.values[stage] + offset, zero);
    FenceProxyAsync();
    SyncWarp();
    if (lane_ == 0) MbarrierArrive(&shared_.value_full[stage]);
  }

  SharedBlock& shared_;
  const int lane_;
  Ring<kStages> value_;
  int landed_ = 0;
};

}  // namespace precis::kernels::PRECIS_GPU_NS::sm90
#endif  // PRECIS_SM90_CODE

#endif  // PRECIS_KERNELS_CUDA_ATTENTION_SM90_PRODUCER_H_
