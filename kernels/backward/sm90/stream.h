#ifndef PRECIS_KERNELS_BACKWARD_SM90_STREAM_H_
#define PRECIS_KERNELS_BACKWARD_SM90_STREAM_H_

// The loading warpgroup: warp 0 copies tiles, warp 1 brings the two numbers that each query row has.

#include "kernels/backward/sm90/layout.h"

#ifdef PRECIS_SM90_CODE
namespace precis::kernels::PRECIS_GPU_NS::sm90 {

template <bool kKeys>
class TileLoader {
 public:
  PRECIS_DEVICE TileLoader(const BackwardParams& params, BackwardShared& shared, const BackwardWork<kKeys>& work, int lane)
      : params_(params), shared_(shared), work_(work), lane_(lane) {}

  PRECIS_DEVICE void Run() {
    const int begin = params_.args.begin[work_.sequence];
    LoadOwn(begin + work_.block * BackwardShape<kKeys>::kOwnBlock);
    Ring<kStreamDepth> stage;
    PRECIS_NO_UNROLL
    for (int tile = work_.first; tile < work_.end; ++tile, stage.Advance()) {
      MbarrierWait(&shared_.empty[stage.index], stage.phase ^ 1);
      const int rows = work_.length - tile * kStreamRows;
      Load(stage.index, rows < kStreamRows ? &shared_.landed : &shared_.full[stage.index], begin + tile * kStreamRows);
      if (rows < kStreamRows) Clear(stage.index, rows);
    }
  }

 private:
  // Queries and dO, or keys and values: 64 rows.
  template <bool kQueries>
  PRECIS_DEVICE void LoadPair(char (&tile)[2][kStreamBytes], Mbarrier* barrier, int row) {
    const int width = params_.args.heads * kHeadDim, column = work_.head * kHeadDim;
    TmaLoad2d(tile[0], &params_.qkv_map, barrier, kQueries ? column : width + column, row);
    TmaLoad2d(tile[1], kQueries ? &params_.d_output_map : &params_.qkv_map, barrier, kQueries ? column : 2 * width + column, row);
  }

  // Rows past the sequence's end come along: no other row depends on them, and they are never stored.
  PRECIS_DEVICE void LoadOwn(int row) {
    if (lane_ == 0) {
      MbarrierArriveExpectTx(&shared_.own_full, BackwardShape<kKeys>::kGroups * 2 * kStreamBytes);
      PRECIS_NO_UNROLL
      for (int group = 0; group < BackwardShape<kKeys>::kGroups; ++group) LoadPair<!kKeys>(shared_.own[group], &shared_.own_full, row + group * kOwnRows);
    }
    SyncWarp();
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
    MbarrierWait(&shared_.landed, 0);
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
  const BackwardWork<kKeys>& work_;
  const int lane_;
};

// Log-sum-exp and delta of the queries of each tile; past the sequence's end an infinite log-sum-exp, so that probabilities are 0.
template <class Policy>
class RowLoader {
 public:
  PRECIS_DEVICE RowLoader(const BackwardParams& params, BackwardShared& shared, const BackwardWork<true>& work, int lane)
      : shared_(shared), work_(work), head_(params.args, work.head, work.sequence), lane_(lane),
        slope_(Policy::kAlibi ? params.args.alibi_slopes[work.head] * kBackwardLog2e : 0.0f) {}

  // A tile's numbers are fetched a round before they are stored.
  PRECIS_DEVICE void Run() {
    Ring<kStreamDepth> stage;
    Fetch(work_.first);
    PRECIS_NO_UNROLL
    for (int tile = work_.first; tile < work_.end; ++tile, stage.Advance()) {
      float (&rows)[2][kStreamRows] = shared_.rows[stage.index];
      MbarrierWait(&shared_.empty[stage.index], stage.phase ^ 1);
      PRECIS_UNROLL
      for (int i = 0; i < 2; ++i) {
        rows[0][lane_ + 32 * i] = log_sum_exp_[i];
        rows[1][lane_ + 32 * i] = delta_[i];
      }
      MbarrierArrive(&shared_.full[stage.index]);  // each lane for its own stores
      Fetch(tile + 1);
    }
  }

 private:
  PRECIS_DEVICE void Fetch(int tile) {
    PRECIS_UNROLL
    for (int i = 0; i < 2; ++i) {
      const int query = tile * kStreamRows + lane_ + 32 * i;
      log_sum_exp_[i] = __builtin_inff();
      delta_[i] = 0.0f;
      if (query >= work_.length) continue;
      log_sum_exp_[i] = Fma(slope_, static_cast<float>(query - work_.block * BackwardShape<true>::kOwnBlock), head_.log_sum_exp[query] * kBackwardLog2e);
      delta_[i] = head_.delta[query];
    }
  }

  BackwardShared& shared_;
  const BackwardWork<true>& work_;
  const BackwardHead<Bf16> head_;
  const int lane_;
  const float slope_;
  float log_sum_exp_[2], delta_[2];
};

}  // namespace precis::kernels::PRECIS_GPU_NS::sm90
#endif  // PRECIS_SM90_CODE

#endif  // PRECIS_KERNELS_BACKWARD_SM90_STREAM_H_
