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

#ifdef PRECIS_SM90_CODE
namespace precis::kernels::PRECIS_GPU_NS::sm90 {

template <class Policy, class Tuning>
class Consumer {
 public:
  PRECIS_DEVICE Consumer(const FlashParams& params, SharedBlock& shared, int group, int thread)
      : params_(params), shared_(shared), group_(group), thread_(thread), lane_(thread % 32) {}

  PRECIS_DEVICE void Run() {
    if (Tuning::kOrdered && group_ == kConsumers - 1) PassToken();
    for (;; item_.Advance()) {
      MbarrierWait(&shared_.item_full[item_.index], item_.phase);
      if (item().head < 0) break;
      Compute();
      Release(&shared_.item_empty[item_.index]);
    }
    if (Tuning::kOrdered && group_ == 0) TakeToken();  // the one that is still out
  }

 private:
  static constexpr int kDescriptorRows = 8 * kHeadDim * 2;  // bytes from 8 rows to the next 8
  using Softmax = OnlineSoftmax<Policy>;

  // Stays in shared memory, and is read there at each use, for the sake of registers.
  PRECIS_DEVICE const WorkItem& item() const { return shared_.items[item_.index]; }
  PRECIS_DEVICE int first_tile() const { return Policy::kAlibi ? item().first_tile : 0; }
  PRECIS_DEVICE int rows() const { return Min(item().rows - group_ * kGroupRows, kGroupRows); }
  PRECIS_DEVICE int row() const { return (thread_ / 32) * 16 + lane_ / 4; }  // the thread's first row; its second is 8 below
  // Position of the thread's first row.
  PRECIS_DEVICE int position() const { return item().position + group_ * kGroupRows + row(); }

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

  PRECIS_DEVICE void Compute() {
    const int begin = item().position + group_ * kGroupRows;
    const int tiles = rows() > 0 ? (begin + rows() - 1) / kTileKeys + 1 : 0;
    MbarrierWait(&shared_.query_full[query_.index], query_.phase);
    if (tiles > 0) {
      Attend(tiles, Min((begin + 1) / kTileKeys, tiles));
    } else {
      SkipTiles(first_tile());
      Release(&shared_.query_empty[query_.index]);
    }
    query_.Advance();
  }

  // tiles: as far as the group's last row sees. open: those that its first row sees whole.
  PRECIS_DEVICE void Attend(int tiles, int open) {
    Softmax softmax(params_.scale);
    softmax.Start(Policy::kAlibi ? params_.alibi_slopes[item().head] / params_.scale : 0.0f);
    float output[kOutputs];
    PRECIS_UNROLL
    for (int i = 0; i < kOutputs; ++i) output[i] = 0.0f;
    Probabilities p;
    float shrink[2] = {1.0f, 1.0f};
    int tile = first_tile();
    FirstTile(softmax, p, open <= tile, tile);
    ++tile;
    for (; tile < open; ++tile) Step<false>(softmax, p, output, shrink, tile);
    const int last_keys = (item().position + group_ * kGroupRows + rows() - 1) % kTileKeys + 1;  // of the last tile that anyone sees
    const bool half = Tuning::kHalfTiles && tile < tiles && last_keys <= kTileKeys / 2;
    for (; tile < tiles - (half ? 1 : 0); ++tile) Step<true>(softmax, p, output, shrink, tile);
    if (half) Step<true, kTileKeys / 2>(softmax, p, output, shrink, tile);
    Release(&shared_.query_empty[query_.index]);
    const bool last = tiles == item().tiles;
    if (!last) TakeToken();
    LastValues(p, output, shrink, !last, half);
    SkipTiles(tiles);
    softmax.Finish();
    StoreOutput(params_, item().head, item().output_row + group_ * kGroupRows, rows(), row(), lane_, output, softmax, position());
  }

  // Number of keys of the tile that the thread's two rows see.
  PRECIS_DEVICE void Visible(int (&visible)[2], int tile) const {
    visible[0] = position() + 1 - tile * kTileKeys;
    visible[1] = visible[0] + 8;
  }

  PRECIS_DEVICE void FirstTile(Softmax& softmax, Probabilities& p, bool masked, int tile) {
    float scores[kScores];
    MbarrierWait(&shared_.key_full[key_.index], key_.phase);
    StartScores(scores);
    WgmmaWait<0>();
    HoldRegisters(scores);
    ReleaseKeys();
    int visible[2];
    float shrink[2];
    Visible(visible, tile);
    softmax.template Apply<true, true>(scores, masked, visible, shrink);
    AwaitNextValues(softmax);
    Pack(scores, p);
  }

  // Waits for the values of the tile whose softmax has just been computed. The parity is made to depend on the sums of the exponentials, which are never
  // negative: otherwise ptxas moves exponentials below the wait for the running product, which depends on none of them, and so undoes the overlap.
  PRECIS_DEVICE void AwaitNextValues(const Softmax& softmax) const {
    const int never = Ballot(softmax.sum(0) < 0.0f || softmax.sum(1) < 0.0f) != 0 ? 1 : 0;
    MbarrierWait(&shared_.value_full[value_.index], value_.phase ^ never);
  }

  // Shrinks what was summed before the tile that p belongs to.
  PRECIS_DEVICE void Rescale(float (&output)[kOutputs], const float (&shrink)[2]) const {
    PRECIS_UNROLL
    for (int i = 0; i < kOutputs; ++i) output[i] *= shrink[(i / 2) % 2];
  }

  // One tile, or its first kKeys keys where no row of the group sees more.
  template <bool kMasked, int kKeys = kTileKeys>
  PRECIS_DEVICE void Step(Softmax& softmax, Probabilities& p, float (&output)[kOutputs], float (&shrink)[2], int tile) {
    float scores[kKeys / 2];
    const int previous = value_.index;
    MbarrierWait(&shared_.key_full[key_.index], key_.phase);
    TakeToken();
    StartScores(scores);
    Rescale(output, shrink);
    StartOutput(p, output);
    PassToken();
    value_.Advance();
    WgmmaWait<1>();
    HoldRegisters(scores);
    ReleaseKeys();
    int visible[2] = {0, 0};
    if constexpr (kMasked) Visible(visible, tile);
    softmax.template Apply<kMasked, false>(scores, kMasked, visible, shrink);
    AwaitNextValues(softmax);
    WgmmaWait<0>();
    HoldRegisters(output);
    Release(&shared_.value_empty[previous]);
    Pack(scores, p);
  }

  PRECIS_DEVICE void LastValues(Probabilities& p, float (&output)[kOutputs], const float (&shrink)[2], bool ordered, bool half) {
    Rescale(output, shrink);
    if (half) {
      StartOutput<kTileKeys / 2>(p, output);
    } else {
      StartOutput(p, output);
    }
    if (ordered) PassToken();
    WgmmaWait<0>();
    HoldRegisters(output);
    ReleaseValues();
  }

  // The block's tiles from `begin` on, which this group doesn't need. Group order: a step of the token for each tile but the block's first; the step of tile
  // `begin` was spent on the group's last values if it had any; otherwise that is the block's first.
  PRECIS_DEVICE void SkipTiles(int begin) {
    for (int tile = begin; tile < item().tiles; ++tile) {
      if (tile != begin) TakeToken();
      if (tile != begin) PassToken();
      MbarrierWait(&shared_.key_full[key_.index], key_.phase);
      ReleaseKeys();
      MbarrierWait(&shared_.value_full[value_.index], value_.phase);
      ReleaseValues();
    }
  }

  template <int kCount>
  PRECIS_DEVICE void StartScores(float (&scores)[kCount]) const {
    const uint64_t query = SharedDescriptor(shared_.query[query_.index][group_], 16, kDescriptorRows, Swizzle::k128);
    const uint64_t keys = SharedDescriptor(shared_.keys[key_.index], 16, kDescriptorRows, Swizzle::k128);
    WgmmaFence();
    PRECIS_UNROLL
    for (int step = 0; step < kHeadDim / 16; ++step) {
      WgmmaSS<2 * kCount>(scores, query + step * kStepAlongRow, keys + step * kStepAlongRow, step > 0);
    }
    if constexpr (Policy::kAlibi) {
      // Last, so that q.k is not rounded at the bias's size four times. All groups of 8 rows are the same one: stride 0.
      const uint64_t slope = SharedDescriptor(shared_.bias_heads() + item().head * kBiasHeadBytes, kCoreBytes, 0, Swizzle::kNone);
      const uint64_t columns = SharedDescriptor(shared_.bias_columns, kCoreBytes, 2 * kCoreBytes, Swizzle::kNone);
      WgmmaSS<2 * kCount>(scores, slope, columns, true);
    }
    WgmmaCommit();
  }

  template <int kKeys = kTileKeys>
  PRECIS_DEVICE void StartOutput(const Probabilities& p, float (&output)[kOutputs]) const {
    const uint64_t values = SharedDescriptor(shared_.values[value_.index], kTileBytes, kDescriptorRows, Swizzle::k128);
    WgmmaFence();
    PRECIS_UNROLL
    for (int step = 0; step < kKeys / 16; ++step) {
      WgmmaRS<kHeadDim, true>(output, p.fragment[step], values + step * kStepAlongKeys, true);
    }
    WgmmaCommit();
  }

  template <int kCount>
  PRECIS_DEVICE static void Pack(const float (&s)[kCount], Probabilities& p) {
    PRECIS_UNROLL
    for (int step = 0; step < kCount / 8; ++step) {
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
#endif  // PRECIS_SM90_CODE

#endif  // PRECIS_KERNELS_CUDA_ATTENTION_SM90_CONSUMER_H_
