#ifndef PRECIS_KERNELS_CUDA_ATTENTION_SM90_SCHEDULE_H_
#define PRECIS_KERNELS_CUDA_ATTENTION_SM90_SCHEDULE_H_

// The order of work: query blocks by their number of key tiles, longest first, heads innermost. Nothing is sorted or stored: a warp finds the block of any
// rank by counting, for a length T, the blocks of at least T tiles (a closed form for each sequence), and searching for the T at which the count passes the
// rank. Ranks are asked for in rising order, so that the search goes on from the last T.

#include "kernels/cuda/attention_sm90/layout.h"

#ifdef PRECIS_SM90_CODE
namespace precis::kernels::PRECIS_GPU_NS::sm90 {

// Counters of the tile scheduler: a slot for each launch in flight. The last block of a launch leaves its slot cleared.
struct TicketSlot {
  int next;
  int finished;
};
#ifdef PRECIS_SIMT
static TicketSlot ticket_slots[kTicketSlots];
#else
static __device__ TicketSlot ticket_slots[kTicketSlots];
#endif

// The index of a thread block's next item: by a counter, so that whoever is free takes the longest left; or, without one, by turns that go back and forth.
PRECIS_DEVICE int NextTicket(int slot, int lane, int round) {
  const int blocks = static_cast<int>(gridDim.x);
  const int block = static_cast<int>(blockIdx.x);
  if (round == 0) return block;
  if (slot < 0) return round * blocks + (round % 2 == 0 ? block : blocks - 1 - block);
  int ticket = 0;
  if (lane == 0) ticket = blocks + AtomicAdd(&ticket_slots[slot].next, 1);
  return ShuffleIdx(ticket, 0);
}

PRECIS_DEVICE void LeaveTickets(int slot) {
  if (AtomicAdd(&ticket_slots[slot].finished, 1) + 1 == static_cast<int>(gridDim.x)) {
    ticket_slots[slot].next = 0;
    ticket_slots[slot].finished = 0;
    ThreadFence();
  }
}

class LongestFirst {
 public:
  // By all lanes of a warp, which stay together in all calls.
  PRECIS_DEVICE LongestFirst(const FlashParams& params, ScheduleState& state, int lane) : params_(params), state_(state), lane_(lane) {
    int longest = 0;
    PRECIS_NO_UNROLL
    for (int s = lane; s < params_.sequences; s += 32) longest = Max(longest, TilesOf(params_.context_length[s]));
    PRECIS_NO_UNROLL
    for (int mask = 16; mask > 0; mask /= 2) longest = Max(longest, ShuffleXor(longest, mask));
    Save({longest, 0, CountAtLeast(longest), 0});
  }

  // The thread block's next item.
  PRECIS_DEVICE WorkItem Next() {
    const int round = state_.round;
    SyncWarp();
    if (lane_ == 0) state_.round = round + 1;
    return At(NextTicket(params_.ticket_slot, lane_, round));
  }

 private:
  // The item of this index: head index % heads of the block of rank index / heads. head = -1 past the end.
  PRECIS_DEVICE WorkItem At(int index) {
    const int rank = index / params_.heads;
    WorkItem item = {-1, 0, 0, 0, 0, 0, 0, 0};
    ScheduleState now = state_;
    SyncWarp();
    if (!Seek(rank, now)) return item;
    now.round = state_.round;
    Save(now);
    item = BlockAt(now.tiles, rank - now.above);
    item.head = index - rank * params_.heads;
    return item;
  }

  PRECIS_DEVICE static int TilesOf(int keys) { return (keys + kTileKeys - 1) / kTileKeys; }

  // Blocks of sequence s with at least `tiles` tiles: they are its last ones, from first.
  PRECIS_DEVICE int CountOf(int s, int tiles) const {
    const int rows = params_.query_count[s];
    const int context = params_.context_length[s];
    const int reach = (tiles - 1) * kTileKeys + 1;  // keys that such a block sees at least
    const int beyond = Min(context - reach, rows - 1);
    return beyond < 0 ? 0 : (beyond + MissingRows(rows)) / kBlockRows + 1;
  }

  PRECIS_DEVICE int CountAtLeast(int tiles) const {
    int count = 0;
    PRECIS_NO_UNROLL
    for (int s = lane_; s < params_.sequences; s += 32) count += CountOf(s, tiles);
    PRECIS_NO_UNROLL
    for (int mask = 16; mask > 0; mask /= 2) count += ShuffleXor(count, mask);
    return count;
  }

  PRECIS_DEVICE void Save(const ScheduleState& state) const {
    if (lane_ == 0) state_ = state;
    SyncWarp();
  }

  // Goes to the length of the block of this rank: down from the last length in growing strides, then by halving the interval between a length with too few
  // blocks and one with enough.
  PRECIS_DEVICE bool Seek(int rank, ScheduleState& now) const {
    if (now.through > rank) return true;
    now.above = now.through;
    int few = now.tiles, step = 1;
    now.tiles = 0;
    PRECIS_NO_UNROLL
    while (few - now.tiles > 1) {
      const int probe = now.tiles > 0 ? (now.tiles + few) / 2 : Max(few - step, 1);
      step *= 2;
      const int count = CountAtLeast(probe);
      if (count > rank) {
        now.tiles = probe;
        now.through = count;
      } else {
        few = probe;
        now.above = count;
      }
    }
    return now.tiles > 0;
  }

  // The block number `index` among those of exactly `tiles` tiles, in order of sequences.
  PRECIS_DEVICE WorkItem BlockAt(int tiles, int index) const {
    PRECIS_NO_UNROLL
    for (int base = 0; base < params_.sequences; base += 32) {
      const int s = base + lane_;
      const int longer = s < params_.sequences ? CountOf(s, tiles + 1) : 0;
      const int mine = s < params_.sequences ? CountOf(s, tiles) - longer : 0;
      int sum = mine;  // inclusive prefix sum over lanes
      PRECIS_NO_UNROLL
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
    PRECIS_NO_UNROLL
    while (((word >> bit) & 1u) == 0) ++bit;
    return bit;
  }

  PRECIS_DEVICE WorkItem Make(int base, int owner, int index, int sum, int mine, int longer) const {
    const int s = base + owner;
    const int within = index - (ShuffleIdx(sum, owner) - ShuffleIdx(mine, owner));
    const int rows = params_.query_count[s];
    const int context = params_.context_length[s];
    const int end = BlockEnd(rows, ShuffleIdx(longer, owner) + within), begin = Max(0, end - kBlockRows);
    WorkItem item;
    item.head = 0;
    item.sequence = s;
    item.output_row = params_.query_begin[s] + begin;
    item.rows = Min(rows, end) - begin;
    item.position = context - rows + begin;
    item.context = context;
    item.tiles = TilesOf(item.position + item.rows);
    item.first_tile = 0;
    return item;
  }

  const FlashParams& params_;
  ScheduleState& state_;
  const int lane_;
};

}  // namespace precis::kernels::PRECIS_GPU_NS::sm90
#endif  // PRECIS_SM90_CODE

#endif  // PRECIS_KERNELS_CUDA_ATTENTION_SM90_SCHEDULE_H_
