#ifndef PRECIS_KERNELS_CUDA_ATTENTION_SM90_CONSUMER_H_
#define PRECIS_KERNELS_CUDA_ATTENTION_SM90_CONSUMER_H_

// A computing warpgroup: 64 query rows. Scores and outputs live in registers; probabilities go from the scores' registers straight into the second product.
//
// Three overlaps keep the matrix unit busy. Within a warpgroup the product Q K(t)^T is started together with P(t-1) V(t-1), so that the softmax of tile t runs
// while P V is computed. From one item of work to the next the same holds: the last P V of an item runs with the first Q K^T of the next, and the output is
// stored while others compute. Between warpgroups a token (named barriers) lets one after the other start its pair of products: they fall out of step, and
// one computes exponentials while another multiplies.
//
// A group whose rows end before the block's last tile only passes the remaining tiles on. Each group takes the token once a tile of each item.

#include "kernels/cuda/attention_sm90/epilogue.h"
#include "kernels/cuda/attention_sm90/layout.h"
#include "kernels/cuda/attention_sm90/softmax.h"

namespace precis::kernels::PRECIS_GPU_NS::sm90 {

template <class Policy, class Tuning>
class Consumer {
 public:
  PRECIS_DEVICE Consumer(const FlashParams& params, SharedBlock& shared, int group) : params_(params), shared_(shared), group_(group) {}

  PRECIS_DEVICE void Run() {
    if (Tuning::kOrdered && group_ == kConsumers - 1) PassToken();
    Softmax softmax(params_.scale);
    Probabilities p;
    Output output;
    Clear(output);
    Shrink shrink = {{1.0f, 1.0f}, false};
    for (;; item_.Advance()) {
      MbarrierWait(&shared_.item_full[item_.index], item_.phase);
      if (item().head < 0) break;
      const int last = item().position + group_ * kGroupRows + rows() - 1;  // position of the group's last row
      MbarrierWait(&shared_.query_full[query_.index], query_.phase);
      if (rows() > 0) {
        Attend(softmax, p, output, shrink, last / kTileKeys + 1, last % kTileKeys < kTileKeys / 2);
      } else {
        TakeToken();
        Finish(p, output, shrink);
        PassToken();
        Release(&shared_.query_empty[query_.index]);
        SkipTiles(0);
        Release(&shared_.item_empty[item_.index]);
      }
      query_.Advance();
    }
    Finish(p, output, shrink);
    if (Tuning::kOrdered && group_ == 0) TakeToken();  // the one that is still out
  }

 private:
  static constexpr int kDescriptorRows = 8 * kHeadDim * 2;  // bytes from 8 rows to the next 8
  using Softmax = OnlineSoftmax<Policy, Tuning>;
  using Output = float[kColumns<Tuning> / 2];

  // An item whose last P V is still to be added and whose output is to be stored: the one before item().
  struct Unfinished {
    int keys = 0;       // of its last tile, that count: kTileKeys, half of them, or 0: there is none
    int value = 0;      // stage of its last values
  };

  // Stays in shared memory, and is read there at each use, for the sake of registers.
  PRECIS_DEVICE const WorkItem& item() const { return shared_.items[item_.index]; }
  PRECIS_DEVICE int RowsOf(const WorkItem& item) const { return Min(item.rows - group_ * kGroupRows, kGroupRows); }
  PRECIS_DEVICE int rows() const { return RowsOf(item()); }
  PRECIS_DEVICE static int lane() { return static_cast<int>(threadIdx.x) % 32; }
  PRECIS_DEVICE static int row() { return static_cast<int>(threadIdx.x) % kWarpgroup / 32 * 16 + lane() / 4; }  // the thread's first row; its second is 8 below
  // Position of the thread's first row.
  PRECIS_DEVICE int position() const { return item().position + group_ * kGroupRows + row(); }

  // Each warp tells that it is done with what a barrier guards.
  PRECIS_DEVICE void Release(Mbarrier* barrier) const {
    SyncWarp();
    if (lane() == 0) MbarrierArrive(barrier);
  }
  PRECIS_DEVICE void TakeToken() const {
    if constexpr (Tuning::kOrdered) NamedBarrierSync(1 + group_, 2 * kWarpgroup);
  }
  PRECIS_DEVICE void PassToken() const {
    if constexpr (Tuning::kOrdered) NamedBarrierArrive(1 + (group_ + 1) % kConsumers, 2 * kWarpgroup);
  }

  // tiles: as far as the group's last row sees; half: it sees only the first half of the last one.
  PRECIS_DEVICE void Attend(Softmax& softmax, Probabilities& p, Output& output, Shrink& shrink, int tiles, bool half) {
    const int open = Min((item().position + group_ * kGroupRows + 1) / kTileKeys, tiles);  // tiles that the first row sees whole
    softmax.Start(Policy::kAlibi ? params_.alibi_slopes[item().head] : 0.0f);
    // One branch around each pipeline of products: ptxas serializes products that are started in branches.
    if (unfinished_.keys == 0) {
      FirstStep<0>(softmax, p, output, shrink, open == 0);
    } else if (unfinished_.keys == kTileKeys) {
      FirstStep<kTileKeys>(softmax, p, output, shrink, open == 0);
    } else {
      FirstStep<kTileKeys / 2>(softmax, p, output, shrink, open == 0);
    }
    int tile = 1;
    for (; tile < open; ++tile) Step<false>(softmax, p, output, shrink, tile);
    half = Tuning::kHalfTiles && half && tile < tiles;
    for (; tile < tiles - (half ? 1 : 0); ++tile) Step<true>(softmax, p, output, shrink, tile);
    if (half) Step<true, kTileKeys / 2>(softmax, p, output, shrink, tile);
    Release(&shared_.query_empty[query_.index]);
    if constexpr (!Tuning::kSumByProduct) {
      softmax.Finish();
      StoreLogSumExp(params_, item(), group_ * kGroupRows, row(), lane(), softmax, position());
      inverse(0) = 1.0f / softmax.sum(0);
      inverse(1) = 1.0f / softmax.sum(1);
    }
    unfinished_ = {half ? kTileKeys / 2 : kTileKeys, value_.index};
    value_.Advance();
    SkipTiles(tiles);
  }

  // One over the sum of exponentials of a row of the unfinished item, which waits in shared memory for the sake of registers.
  PRECIS_DEVICE float& inverse(int half) const { return shared_.inverse_sums[half][static_cast<int>(threadIdx.x) - kWarpgroup]; }

  // Number of keys of the tile that the thread's two rows see.
  PRECIS_DEVICE void Visible(int (&visible)[2], int tile) const {
    visible[0] = position() + 1 - tile * kTileKeys;
    visible[1] = visible[0] + 8;
  }

  // The first tile of an item, and the last product of the one before, over kKeys keys.
  template <int kKeys>
  PRECIS_DEVICE void FirstStep(Softmax& softmax, Probabilities& p, Output& output, Shrink& shrink, bool masked) {
    float scores[kScores];
    MbarrierWait(&shared_.key_full[key_.index], key_.phase);
    TakeToken();
    StartScores(scores);
    if constexpr (kKeys > 0) {
      Rescale(output, shrink);
      StartOutput<kKeys>(p, output, unfinished_.value);
    }
    PassToken();
    WgmmaWait<kKeys == 0 ? 0 : 1>();
    HoldRegisters(scores);
    ReleaseKeys();
    int visible[2];
    Visible(visible, 0);
    softmax.template Apply<true, true>(scores, masked, visible, shrink);
    AwaitNextValues(softmax, scores);
    if constexpr (kKeys > 0) {
      WgmmaWait<0>();
      HoldRegisters(output);
      StoreUnfinished(output);
    }
    Pack(scores, p);
    Clear(output);
  }

  // What is left of the last item, where no other product is to be started with it.
  PRECIS_DEVICE void Finish(Probabilities& p, Output& output, const Shrink& shrink) {
    if (unfinished_.keys == kTileKeys) {
      FinishKeys<kTileKeys>(p, output, shrink);
    } else if (unfinished_.keys != 0) {
      FinishKeys<kTileKeys / 2>(p, output, shrink);
    }
  }
  template <int kKeys>
  PRECIS_DEVICE void FinishKeys(Probabilities& p, Output& output, const Shrink& shrink) {
    Rescale(output, shrink);
    StartOutput<kKeys>(p, output, unfinished_.value);
    WgmmaWait<0>();
    HoldRegisters(output);
    StoreUnfinished(output);
  }

  PRECIS_DEVICE void StoreUnfinished(const Output& output) {
    Release(&shared_.value_empty[unfinished_.value]);
    const int slot = (item_.index + kItemSlots - 1) % kItemSlots;
    const WorkItem& item = shared_.items[slot];
    float inverses[2];
    PRECIS_UNROLL
    for (int half = 0; half < 2; ++half) {
      if constexpr (Tuning::kSumByProduct) {
        inverses[half] = 1.0f / output[kHeadDim / 2 + 2 * half];
      } else {
        inverses[half] = inverse(half);
      }
    }
    StoreOutput(params_, item, group_ * kGroupRows, RowsOf(item), row(), lane(), output, inverses);
    Release(&shared_.item_empty[slot]);
    unfinished_.keys = 0;
  }

  // Waits for the values of the tile whose softmax has just been computed. The parity is made to depend on the sums of the exponentials, which are never
  // negative: otherwise ptxas moves exponentials below the wait for the running product, which depends on none of them, and so undoes the overlap.
  template <int kCount>
  PRECIS_DEVICE void AwaitNextValues(const Softmax& softmax, const float (&p)[kCount]) const {
    const int never = Ballot(softmax.Witness(p) < 0) != 0 ? 1 : 0;
    MbarrierWait(&shared_.value_full[value_.index], value_.phase ^ never);
  }

  // Shrinks what was summed before the tile that p belongs to.
  PRECIS_DEVICE static void Rescale(Output& output, const Shrink& shrink) {
    if (!shrink.needed) return;
    PRECIS_UNROLL
    for (int i = 0; i < kColumns<Tuning> / 2; ++i) output[i] *= shrink.factor[(i / 2) % 2];
  }
  PRECIS_DEVICE static void Clear(Output& output) {
    PRECIS_UNROLL
    for (int i = 0; i < kColumns<Tuning> / 2; ++i) output[i] = 0.0f;
  }

  // One tile, or its first kKeys keys where no row of the group sees more.
  template <bool kMasked, int kKeys = kTileKeys>
  PRECIS_DEVICE void Step(Softmax& softmax, Probabilities& p, Output& output, Shrink& shrink, int tile) {
    float scores[kKeys / 2];
    const int previous = value_.index;
    MbarrierWait(&shared_.key_full[key_.index], key_.phase);
    TakeToken();
    StartScores(scores);
    Rescale(output, shrink);
    StartOutput(p, output, previous);
    PassToken();
    value_.Advance();
    WgmmaWait<1>();
    HoldRegisters(scores);
    ReleaseKeys();
    int visible[2] = {0, 0};
    if constexpr (kMasked) Visible(visible, tile);
    softmax.template Apply<kMasked, false>(scores, kMasked, visible, shrink);
    AwaitNextValues(softmax, scores);
    WgmmaWait<0>();
    HoldRegisters(output);
    Release(&shared_.value_empty[previous]);
    Pack(scores, p);
  }

  // The block's tiles from `begin` on, which this group doesn't need.
  PRECIS_DEVICE void SkipTiles(int begin) {
    for (int tile = begin; tile < item().tiles; ++tile) {
      if (tile > 0) {
        TakeToken();
        PassToken();
      }
      MbarrierWait(&shared_.key_full[key_.index], key_.phase);
      ReleaseKeys();
      MbarrierWait(&shared_.value_full[value_.index], value_.phase);
      Release(&shared_.value_empty[value_.index]);
      value_.Advance();
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
    WgmmaCommit();
  }

  template <int kKeys = kTileKeys>
  PRECIS_DEVICE void StartOutput(const Probabilities& p, Output& output, int stage) const {
    // The distance from the first 64 columns to the next ones is that to the columns of ones, less by each step along the keys.
    const uint64_t values =
        SharedDescriptor(shared_.values[stage], static_cast<int>(shared_.ones - shared_.values[stage]), kDescriptorRows, Swizzle::k128);
    WgmmaFence();
    PRECIS_UNROLL
    for (int step = 0; step < kKeys / 16; ++step) {
      WgmmaRS<kColumns<Tuning>, true>(output, p.fragment[step], values + static_cast<uint64_t>(step * kStepAlongKeys), true);
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
  static constexpr uint64_t kStepAlongRow = 16 * 2 / 16;  // 16 elements on, in the descriptor's units of 16 bytes
  static constexpr int64_t kRowsAlongKeys = 16 * kHeadDim * 2 / 16;
  static constexpr int64_t kStepAlongKeys = kRowsAlongKeys - (Tuning::kSumByProduct ? kRowsAlongKeys << 16 : 0);  // start and distance

  const FlashParams& params_;
  SharedBlock& shared_;
  const int group_;
  Ring<kItemSlots> item_;
  Ring<kQueryBuffers> query_;
  Ring<kStages> key_, value_;
  Unfinished unfinished_;
};

}  // namespace precis::kernels::PRECIS_GPU_NS::sm90

#endif  // PRECIS_KERNELS_CUDA_ATTENTION_SM90_CONSUMER_H_
