#ifndef PRECIS_KERNELS_BACKWARD_SM90_STREAM_H_
#define PRECIS_KERNELS_BACKWARD_SM90_STREAM_H_

// The loading warpgroup: warp 0 hands out work and copies tiles, warp 1 brings the two numbers that each query row has.

#include "kernels/backward/sm90/layout.h"
#include "kernels/backward/sm90/reach.h"
#include "kernels/cuda/attention_sm90/schedule.h"

#ifdef PRECIS_SM90_CODE
namespace precis::kernels::PRECIS_GPU_NS::sm90 {

// Deals items out: whoever is free takes the longest left, early keys or late queries first. Queries are cut into blocks from the end, as in the forward pass,
// keys from the start: the block that does not fill its groups is the one with the shortest stream.
template <bool kKeys>
class ItemSource {
 public:
  PRECIS_DEVICE ItemSource(const BackwardParams& params, int lane) : params_(params), lane_(lane) {}

  PRECIS_DEVICE BackwardItem Next() {
    const FlashBackwardArgs& args = params_.args;
    constexpr int kRows = BackwardShape<kKeys>::kOwnBlock;
    const int blocks = (args.max_length + kRows - 1) / kRows;
    PRECIS_NO_UNROLL
    for (;;) {
      const int ticket = NextTicket(params_.ticket_slot, lane_, round_++), number = ticket / args.heads;
      BackwardItem item = {-1, 0, 0, 0, 0, 0, 0, 0};
      if (number >= blocks * args.sequences) return item;
      item.sequence = number % args.sequences;
      item.length = args.length[item.sequence];
      const int block = kKeys ? number / args.sequences : blocks - 1 - number / args.sequences;
      if (block * kRows >= item.length) continue;
      const int tiles = (item.length + kStreamRows - 1) / kStreamRows;
      const int end = kKeys ? (block + 1) * kRows : BlockEnd(item.length, BlockCount(item.length) - 1 - block);
      item.own = Max(0, end - kRows) / kOwnRows;
      item.groups = Min(end / kOwnRows, tiles) - item.own;
      item.head = ticket % args.heads;
      item.begin = args.begin[item.sequence];
      item.first = kKeys ? item.own : 0;
      item.end = kKeys ? tiles : item.own + item.groups;
      return item;
    }
  }

 private:
  const BackwardParams& params_;
  const int lane_;
  int round_ = 0;
};

template <bool kKeys, class Policy>
class TileLoader {
 public:
  PRECIS_DEVICE TileLoader(const BackwardParams& params, BackwardShared& shared, int lane) : params_(params), shared_(shared), lane_(lane) {}

  PRECIS_DEVICE void Run() {
    ItemSource<kKeys> source(params_, lane_);
    PRECIS_NO_UNROLL
    for (;; slot_.Advance()) {
      Publish(source.Next());
      if (item().head < 0) break;
      LoadOwn();
      LoadTiles();
    }
    if (lane_ == 0) LeaveTickets(params_.ticket_slot);
  }

 private:
  PRECIS_DEVICE const BackwardItem& item() const { return shared_.items[slot_.index]; }

  PRECIS_DEVICE void Publish(const BackwardItem& found) {
    MbarrierWait(&shared_.item_empty[slot_.index], slot_.phase ^ 1);
    if (lane_ == 0) shared_.items[slot_.index] = found;
    SyncWarp();
    if (Policy::kAlibi && params_.args.max_length >= kBackwardReach && item().head >= 0) {
      const int reached = Reached<kKeys>(params_.args, item(), lane_);
      if (lane_ == 0) (kKeys ? shared_.items[slot_.index].end : shared_.items[slot_.index].first) = reached;
    }
    if (lane_ == 0) MbarrierArrive(&shared_.item_full[slot_.index]);
    SyncWarp();
  }

  PRECIS_DEVICE void LoadTiles() {
    PRECIS_NO_UNROLL
    for (int tile = item().first; tile < item().end; ++tile, stage_.Advance()) {
      MbarrierWait(&shared_.empty[stage_.index], stage_.phase ^ 1);
      const int rows = item().length - tile * kStreamRows;
      Load(stage_.index, rows < kStreamRows ? &shared_.landed : &shared_.full[stage_.index], item().begin + tile * kStreamRows);
      if (rows < kStreamRows) Clear(stage_.index, rows);
    }
  }

  // Queries and dO, or keys and values: 64 rows.
  template <bool kQueries>
  PRECIS_DEVICE void LoadPair(char (&tile)[2][kStreamBytes], Mbarrier* barrier, int row) {
    const int width = params_.args.heads * kHeadDim, column = item().head * kHeadDim;
    TmaLoad2d(tile[0], &params_.qkv_map, barrier, kQueries ? column : width + column, row);
    TmaLoad2d(tile[1], kQueries ? &params_.d_output_map : &params_.qkv_map, barrier, kQueries ? column : 2 * width + column, row);
  }

  // Rows past the sequence's end come along: no other row depends on them, and they are never stored.
  PRECIS_DEVICE void LoadOwn() {
    Mbarrier* barrier = &shared_.own_full[own_.index];
    MbarrierWait(&shared_.own_empty[own_.index], own_.phase ^ 1);
    if (lane_ == 0) {
      MbarrierArriveExpectTx(barrier, BackwardShape<kKeys>::kGroups * 2 * kStreamBytes);
      PRECIS_NO_UNROLL
      for (int group = 0; group < BackwardShape<kKeys>::kGroups; ++group) {
        LoadPair<!kKeys>(shared_.own[own_.index][group], barrier, item().begin + (item().own + group) * kOwnRows);
      }
    }
    SyncWarp();
    own_.Advance();
  }

  PRECIS_DEVICE void Load(int stage, Mbarrier* barrier, int row) {
    if (lane_ == 0) {
      MbarrierArriveExpectTx(barrier, 2 * kStreamBytes);
      LoadPair<kKeys>(shared_.tiles[stage], barrier, row);
    }
    SyncWarp();
  }

  // Rows past the sequence's end are others', or nobody's, and would be multiplied by 0: they are set to 0 before the tile counts as full.
  PRECIS_DEVICE void Clear(int stage, int rows) {
    MbarrierWait(&shared_.landed, landed_);
    landed_ ^= 1;
    const Vec16 zero = {{0, 0, 0, 0}};
    PRECIS_NO_UNROLL
    for (int offset = rows * kHeadDim * 2 + lane_ * 16; offset < kStreamBytes; offset += 32 * 16) {
      Store16(shared_.tiles[stage][0] + offset, zero);
      Store16(shared_.tiles[stage][1] + offset, zero);
    }
    FenceProxyAsync();
    SyncWarp();
    if (lane_ == 0) MbarrierArrive(&shared_.full[stage]);
  }

  const BackwardParams& params_;
  BackwardShared& shared_;
  const int lane_;
  int landed_ = 0;
  Ring<kBackwardItems> slot_;
  Ring<kOwnBuffers> own_;
  Ring<kStreamDepth> stage_;
};

// Log-sum-exp and delta of the queries of each tile; past the sequence's end an infinite log-sum-exp, so that probabilities are 0.
template <class Policy>
class RowLoader {
 public:
  PRECIS_DEVICE RowLoader(const BackwardParams& params, BackwardShared& shared, int lane) : args_(params.args), shared_(shared), lane_(lane) {}

  PRECIS_DEVICE void Run() {
    Ring<kBackwardItems> slot;
    PRECIS_NO_UNROLL
    for (;; slot.Advance()) {
      MbarrierWait(&shared_.item_full[slot.index], slot.phase);
      const BackwardItem item = shared_.items[slot.index];
      SyncWarp();
      if (lane_ == 0) MbarrierArrive(&shared_.item_empty[slot.index]);
      if (item.head < 0) return;
      Load(item);
    }
  }

 private:
  // A tile's numbers are fetched a round before they are stored.
  PRECIS_DEVICE void Load(const BackwardItem& item) {
    length_ = item.length;
    origin_ = item.own * kOwnRows;
    log_sum_exps_ = args_.log_sum_exp + item.head * args_.lse_stride + item.begin;
    deltas_ = static_cast<const float*>(args_.workspace) + int64_t{item.head} * args_.rows + item.begin;
    slope_ = Policy::kAlibi ? args_.alibi_slopes[item.head] * kBackwardLog2e : 0.0f;
    Fetch(item.first);
    PRECIS_NO_UNROLL
    for (int tile = item.first; tile < item.end; ++tile, stage_.Advance()) {
      float (&rows)[2][kStreamRows] = shared_.rows[stage_.index];
      MbarrierWait(&shared_.empty[stage_.index], stage_.phase ^ 1);
      PRECIS_UNROLL
      for (int i = 0; i < 2; ++i) {
        rows[0][lane_ + 32 * i] = log_sum_exp_[i];
        rows[1][lane_ + 32 * i] = delta_[i];
      }
      MbarrierArrive(&shared_.full[stage_.index]);  // each lane for its own stores
      Fetch(tile + 1);
    }
  }

  PRECIS_DEVICE void Fetch(int tile) {
    PRECIS_UNROLL
    for (int i = 0; i < 2; ++i) {
      const int query = tile * kStreamRows + lane_ + 32 * i;
      log_sum_exp_[i] = __builtin_inff();
      delta_[i] = 0.0f;
      if (query >= length_) continue;
      log_sum_exp_[i] = Fma(slope_, static_cast<float>(query - origin_), log_sum_exps_[query] * kBackwardLog2e);
      delta_[i] = deltas_[query];
    }
  }

  const FlashBackwardArgs& args_;
  BackwardShared& shared_;
  const int lane_;
  Ring<kStreamDepth> stage_;
  int length_ = 0, origin_ = 0;
  float slope_ = 0.0f;
  const float* log_sum_exps_ = nullptr;
  const float* deltas_ = nullptr;
  float log_sum_exp_[2], delta_[2];
};

}  // namespace precis::kernels::PRECIS_GPU_NS::sm90
#endif  // PRECIS_SM90_CODE

#endif  // PRECIS_KERNELS_BACKWARD_SM90_STREAM_H_
