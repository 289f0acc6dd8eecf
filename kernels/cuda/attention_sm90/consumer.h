#ifndef PRECIS_KERNELS_CUDA_ATTENTION_SM90_CONSUMER_H_
#define PRECIS_KERNELS_CUDA_ATTENTION_SM90_CONSUMER_H_

// A computing warpgroup: 64 query rows. Scores and outputs live in registers; probabilities go from the scores' registers straight into the second product.
//
// Two overlaps keep the matrix unit busy. Within a warpgroup the product Q K(t)^T is started together with P(t-1) V(t-1), so that the softmax of tile t runs
// while P V is computed. Between warpgroups a token (named barriers) lets one after the other start its pair of products: they fall out of step, and one
// computes exponentials while another multiplies.
//
// A group whose rows end before the block's last tile only passes the remaining tiles on.

#include "kernels/cuda/attention_sm90/epilogue.h"
#include "kernels/cuda/attention_sm90/layout.h"
#include "kernels/cuda/attention_sm90/softmax.h"

namespace precis::kernels::PRECIS_GPU_NS::sm90 {

template <class Policy, class Tuning>
class Consumer {
 public:
  PRECIS_DEVICE Consumer(const FlashParams& params, SharedBlock& shared, int group, int thread)
      : params_(params), shared_(shared), group_(group), thread_(thread), lane_(thread % 32) {}

  PRECIS_DEVICE void Run() {
    if (Tuning::kOrdered && group_ == kConsumers - 1) PassToken();
    for (;;) {
      const WorkItem item = TakeItem();
      if (item.head < 0) break;
      Compute(item);
    }
    if (Tuning::kOrdered && group_ == 0) TakeToken();  // the one that is still out
  }

 private:
  static constexpr int kDescriptorRows = 8 * kHeadDim * 2;  // bytes from 8 rows to the next 8
  using Softmax = OnlineSoftmax<Policy, Tuning>;
  struct Probabilities {
    uint32_t fragment[kTileKeys / 16][4];
  };

  PRECIS_DEVICE WorkItem TakeItem() {
    MbarrierWait(&shared_.item_full[item_.index], item_.phase);
    const WorkItem item = shared_.items[item_.index];
    Release(&shared_.item_empty[item_.index]);
    item_.Advance();
    return item;
  }

  // Each warp tells that it is done with what a barrier guards.
  PRECIS_DEVICE void Release(Mbarrier* barrier) const {
    SyncWarp();
    if (lane_ == 0) MbarrierArrive(barrier);
  }
  PRECIS_DEVICE void TakeToken() const {
    if constexpr (Tuning::kOrdered) NamedBarrierSync(1 + group_, 2 * kWarpgroup);
  }
  PRECIS_DEVICE void PassToken() const {
    if constexpr (Tuning::kOrdered) NamedBarrierArrive(1 + (group_ + 1) % kConsumers, 2 * kWarpgroup);
  }

  PRECIS_DEVICE void Compute(const WorkItem& item) {
    const int rows = Min(item.rows - group_ * kGroupRows, kGroupRows);
    const int position = item.position + group_ * kGroupRows;
    const int tiles = rows > 0 ? (position + rows - 1) / kTileKeys + 1 : 0;
    MbarrierWait(&shared_.query_full[query_.index], query_.phase);
    if (tiles > 0) {
      Attend(item, rows, position, tiles);
    } else {
      SkipTiles(0, item.tiles);
      Release(&shared_.query_empty[query_.index]);
    }
    query_.Advance();
  }

  PRECIS_DEVICE void Attend(const WorkItem& item, int rows, int position, int tiles) {
    const int row = (thread_ / 32) * 16 + lane_ / 4;  // and row + 8
    const int first_position = position + row;
    const float slope = Policy::kAlibi ? params_.alibi_slopes[item.head] : 0.0f;
    Softmax softmax(params_.scale, slope, lane_);
    softmax.Start();
    float output[kOutputs];
    PRECIS_UNROLL
    for (int i = 0; i < kOutputs; ++i) output[i] = 0.0f;
    Probabilities p;
    const int open = Min((position + 1) / kTileKeys, tiles);  // tiles that every row sees whole
    FirstTile(softmax, p, open == 0, first_position);
    int tile = 1;
    for (; tile < open; ++tile) Step<false>(softmax, p, output, tile, first_position);
    for (; tile < tiles; ++tile) Step<true>(softmax, p, output, tile, first_position);
    Release(&shared_.query_empty[query_.index]);
    const bool last = tiles == item.tiles;
    if (!last) TakeToken();
    LastValues(p, output, !last);
    SkipTiles(tiles, item.tiles);
    softmax.Finish();
    StoreOutput(params_, item.head, item.output_row + group_ * kGroupRows, rows, row, lane_, output, softmax, first_position);
  }

  // Number of keys of the tile that the thread's two rows see.
  PRECIS_DEVICE static void Visible(int (&visible)[2], int first_position, int tile) {
    visible[0] = first_position + 1 - tile * kTileKeys;
    visible[1] = visible[0] + 8;
  }

  PRECIS_DEVICE void FirstTile(Softmax& softmax, Probabilities& p, bool masked, int first_position) {
    float scores[kScores];
    MbarrierWait(&shared_.key_full[key_.index], key_.phase);
    StartScores(scores);
    WgmmaWait<0>();
    HoldRegisters(scores);
    ReleaseKeys();
    int visible[2];
    float shrink[2];
    Visible(visible, first_position, 0);
    if (masked) {
      softmax.template Apply<true, true>(scores, visible, shrink);
    } else {
      softmax.template Apply<false, true>(scores, visible, shrink);
    }
    AwaitNextValues(scores);
    Pack(scores, p);
  }

  // Waits for the values of the tile whose softmax has just been computed. The wait's loop also keeps the softmax where it is: ptxas would move the wait for
  // the running product, which depends on none of it, above the exponentials, and so undo the overlap.
  PRECIS_DEVICE void AwaitNextValues(float (&scores)[kScores]) const {
    HoldRegisters(scores);
    MbarrierWait(&shared_.value_full[value_.index], value_.phase);
  }

  template <bool kMasked>
  PRECIS_DEVICE void Step(Softmax& softmax, Probabilities& p, float (&output)[kOutputs], int tile, int first_position) {
    float scores[kScores];
    const int previous = value_.index;
    MbarrierWait(&shared_.key_full[key_.index], key_.phase);
    TakeToken();
    StartScores(scores);
    StartOutput(p, output);
    PassToken();
    value_.Advance();
    WgmmaWait<1>();
    HoldRegisters(scores);
    ReleaseKeys();
    int visible[2];
    float shrink[2];
    Visible(visible, first_position, tile);
    softmax.template Apply<kMasked, false>(scores, visible, shrink);
    AwaitNextValues(scores);
    WgmmaWait<0>();
    HoldRegisters(output);
    Release(&shared_.value_empty[previous]);
    Pack(scores, p);
    PRECIS_UNROLL
    for (int i = 0; i < kOutputs; ++i) output[i] *= shrink[(i / 2) % 2];
  }

  PRECIS_DEVICE void LastValues(Probabilities& p, float (&output)[kOutputs], bool ordered) {
    StartOutput(p, output);
    if (ordered) PassToken();
    WgmmaWait<0>();
    HoldRegisters(output);
    ReleaseValues();
  }

  // Tiles begin .. end of the block that this group doesn't need. Group order: a step of the token for each tile but the block's first; the step of tile
  // `begin` was spent on the group's last values if it had any.
  PRECIS_DEVICE void SkipTiles(int begin, int end) {
    for (int tile = begin; tile < end; ++tile) {
      const bool spent = tile == 0 || (begin > 0 && tile == begin);
      if (!spent) TakeToken();
      if (!spent) PassToken();
      MbarrierWait(&shared_.key_full[key_.index], key_.phase);
      ReleaseKeys();
      MbarrierWait(&shared_.value_full[value_.index], value_.phase);
      ReleaseValues();
    }
  }

  PRECIS_DEVICE void StartScores(float (&scores)[kScores]) const {
    const uint64_t query = SharedDescriptor(shared_.query[query_.index][group_], 16, kDescriptorRows, Swizzle::k128);
    const uint64_t keys = SharedDescriptor(shared_.keys[key_.index], 16, kDescriptorRows, Swizzle::k128);
    WgmmaFence();
    PRECIS_UNROLL
    for (int step = 0; step < kHeadDim / 16; ++step) {
      WgmmaSS<kTileKeys>(scores, query + step * kStepAlongRow, keys + step * kStepAlongRow, step > 0);
    }
    WgmmaCommit();
  }

  PRECIS_DEVICE void StartOutput(const Probabilities& p, float (&output)[kOutputs]) const {
    const uint64_t values = SharedDescriptor(shared_.values[value_.index], kTileBytes, kDescriptorRows, Swizzle::k128);
    WgmmaFence();
    PRECIS_UNROLL
    for (int step = 0; step < kTileKeys / 16; ++step) {
      WgmmaRS<kHeadDim, true>(output, p.fragment[step], values + step * kStepAlongKeys, true);
    }
    WgmmaCommit();
  }

  PRECIS_DEVICE static void Pack(const float (&s)[kScores], Probabilities& p) {
    PRECIS_UNROLL
    for (int step = 0; step < kTileKeys / 16; ++step) {
      PRECIS_UNROLL
      for (int i = 0; i < 4; ++i) p.fragment[step][i] = PackBf16(s[8 * step + 2 * i], s[8 * step + 2 * i + 1]);
    }
  }

  PRECIS_DEVICE void ReleaseKeys() {
    Release(&shared_.key_empty[key_.index]);
    key_.Advance();
  }
  PRECIS_DEVICE void ReleaseValues() {
    Release(&shared_.value_empty[value_.index]);
    value_.Advance();
  }

  static constexpr uint64_t kStepAlongRow = 16 * 2 / 16;                // 16 elements on, in the descriptor's units of 16 bytes
  static constexpr uint64_t kStepAlongKeys = 16 * kHeadDim * 2 / 16;  // 16 rows on

  const FlashParams& params_;
  SharedBlock& shared_;
  const int group_;
  const int thread_;  // of the warpgroup
  const int lane_;
  Ring<kItemSlots> item_;
  Ring<kQueryBuffers> query_;
  Ring<kStages> key_, value_;
};

}  // namespace precis::kernels::PRECIS_GPU_NS::sm90

#endif  // PRECIS_KERNELS_CUDA_ATTENTION_SM90_CONSUMER_H_
