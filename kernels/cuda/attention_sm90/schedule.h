#ifndef PRECIS_KERNELS_CUDA_ATTENTION_SM90_SCHEDULE_H_
#define PRECIS_KERNELS_CUDA_ATTENTION_SM90_SCHEDULE_H_

// The order of work: query blocks by their number of key tiles, longest first, heads innermost. Nothing is sorted or stored: a warp finds the block of any
// rank by counting, for a length T, the blocks of at least T tiles (a closed form for each sequence), and searching for the T at which the count passes the
// rank. Ranks are asked for in rising order, so that the search goes on from the last T.

#include "kernels/cuda/attention_sm90/layout.h"

namespace precis::kernels::PRECIS_GPU_NS::sm90 {

class LongestFirst {
 public:
  // By all lanes of a warp, which stay together in all calls.
  PRECIS_DEVICE LongestFirst(const FlashParams& params, int lane) : params_(params), lane_(lane) {
    int longest = 0;
    for (int s = lane; s < params_.sequences; s += 32) longest = Max(longest, TilesOf(params_.context_length[s]));
    for (int mask = 16; mask > 0; mask /= 2) longest = Max(longest, ShuffleXor(longest, mask));
    tiles_ = longest;
    above_ = 0;
    through_ = CountAtLeast(tiles_);
  }

  // The item of this index: head index % heads of the block of rank index / heads. head = -1 past the end.
  PRECIS_DEVICE WorkItem At(int index) {
    const int rank = index / params_.heads;
    WorkItem item = {-1, 0, 0, 0, 0, 0, 0, 0};
    if (!Seek(rank)) return item;
    item = BlockAt(rank - above_);
    item.head = index - rank * params_.heads;
    return item;
  }

 private:
  PRECIS_DEVICE static int TilesOf(int keys) { return (keys + kTileKeys - 1) / kTileKeys; }

  // Blocks of sequence s with at least `tiles` tiles: they are its last ones, from first.
  PRECIS_DEVICE int CountOf(int s, int tiles) const {
    const int rows = params_.query_count[s];
    const int context = params_.context_length[s];
    const int reach = (tiles - 1) * kTileKeys + 1;  // keys that such a block sees at least
    if (rows <= 0 || context < reach) return 0;
    const int missing = reach - (context - rows);
    const int first = missing <= 0 ? 0 : (missing + kBlockRows - 1) / kBlockRows - 1;
    return (rows + kBlockRows - 1) / kBlockRows - first;
  }

  PRECIS_DEVICE int CountAtLeast(int tiles) const {
    int count = 0;
    for (int s = lane_; s < params_.sequences; s += 32) count += CountOf(s, tiles);
    for (int mask = 16; mask > 0; mask /= 2) count += ShuffleXor(count, mask);
    return count;
  }

  // Sets tiles_ to the length of the block of this rank: above_ blocks are longer, through_ at least as long.
  PRECIS_DEVICE bool Seek(int rank) {
    if (through_ > rank) return true;
    int low = tiles_, low_count = through_;  // too few at `low`
    int step = 1;
    while (low > 1) {
      const int probe = Max(low - step, 1);
      const int count = CountAtLeast(probe);
      if (count > rank) {
        Narrow(rank, probe, count, low, low_count);
        return true;
      }
      low = probe;
      low_count = count;
      step *= 2;
    }
    return false;
  }

  // Between `enough` (count > rank) and `few` (count <= rank), finds the largest length that has enough.
  PRECIS_DEVICE void Narrow(int rank, int enough, int enough_count, int few, int few_count) {
    while (few - enough > 1) {
      const int middle = (enough + few) / 2;
      const int count = CountAtLeast(middle);
      if (count > rank) {
        enough = middle;
        enough_count = count;
      } else {
        few = middle;
        few_count = count;
      }
    }
    tiles_ = enough;
    through_ = enough_count;
    above_ = few_count;
  }

  // The block number `index` among those of exactly tiles_ tiles, in order of sequences.
  PRECIS_DEVICE WorkItem BlockAt(int index) const {
    for (int base = 0; base < params_.sequences; base += 32) {
      const int s = base + lane_;
      const int longer = s < params_.sequences ? CountOf(s, tiles_ + 1) : 0;
      const int mine = s < params_.sequences ? CountOf(s, tiles_) - longer : 0;
      int sum = mine;  // inclusive prefix sum over lanes
      for (int step = 1; step < 32; step *= 2) {
        const int below = ShuffleIdx(sum, lane_ >= step ? lane_ - step : lane_);
        if (lane_ >= step) sum += below;
      }
      const unsigned reached = Ballot(sum > index);
      if (reached != 0) return Make(base, LowestBit(reached), index, sum, mine, longer);
      index -= ShuffleIdx(sum, 31);
    }
    return {-1, 0, 0, 0, 0, 0, 0, 0};
  }

  PRECIS_DEVICE static int LowestBit(unsigned word) {
    int bit = 0;
    while (((word >> bit) & 1u) == 0) ++bit;
    return bit;
  }

  PRECIS_DEVICE WorkItem Make(int base, int owner, int index, int sum, int mine, int longer) const {
    const int s = base + owner;
    const int within = index - (ShuffleIdx(sum, owner) - ShuffleIdx(mine, owner));
    const int rows = params_.query_count[s];
    const int context = params_.context_length[s];
    const int blocks = (rows + kBlockRows - 1) / kBlockRows;
    const int block = blocks - 1 - ShuffleIdx(longer, owner) - within;
    WorkItem item;
    item.head = 0;
    item.sequence = s;
    item.output_row = params_.query_begin[s] + block * kBlockRows;
    item.rows = Min(rows - block * kBlockRows, kBlockRows);
    item.position = context - rows + block * kBlockRows;
    item.context = context;
    item.tiles = TilesOf(item.position + item.rows);
    item.unused = 0;
    return item;
  }

  const FlashParams& params_;
  const int lane_;
  int tiles_;
  int above_;
  int through_;
};

// Deals items out to the thread blocks: by a counter, so that whoever is free takes the longest left; or, without one, by turns that go back and forth.
class Tickets {
 public:
  PRECIS_DEVICE Tickets(int* counter) : counter_(counter) {}
  PRECIS_DEVICE int Next(int lane) {
    const int round = round_++;
    const int blocks = static_cast<int>(gridDim.x);
    const int block = static_cast<int>(blockIdx.x);
    if (round == 0) return block;
    if (counter_ == nullptr) return round * blocks + (round % 2 == 0 ? block : blocks - 1 - block);
    int ticket = 0;
    if (lane == 0) ticket = blocks + AtomicAdd(counter_, 1);
    return ShuffleIdx(ticket, 0);
  }

 private:
  int* counter_;
  int round_ = 0;
};

}  // namespace precis::kernels::PRECIS_GPU_NS::sm90

#endif  // PRECIS_KERNELS_CUDA_ATTENTION_SM90_SCHEDULE_H_
