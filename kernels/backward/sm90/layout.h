#ifndef PRECIS_KERNELS_BACKWARD_SM90_LAYOUT_H_
#define PRECIS_KERNELS_BACKWARD_SM90_LAYOUT_H_

// Sizes, parameters and shared memory of the Hopper backward kernels. A thread block owns an SM and takes one item after another: rows of one head, keys or
// queries, 64 for each of its computing warpgroups, against which it walks the other kind in tiles of 64 rows. A loading warpgroup runs ahead, also into the
// next item.

#include "kernels/backward/flash_backward_tile.h"
#include "kernels/cuda/attention_sm90/layout.h"

namespace precis::kernels::PRECIS_GPU_NS::sm90 {

inline constexpr int kOwnRows = 64;  // of a group
inline constexpr int kStreamRows = 64;  // tiles stand at multiples of this from the sequence's start
inline constexpr int kStreamBytes = kStreamRows * kHeadDim * 2;
inline constexpr int kStreamDepth = 6;
static_assert(kOwnRows == kStreamRows && kOwnRows == kGroupRows);

struct BackwardParams {
  TensorMap qkv_map;       // (columns of qkv, rows), box 64 x 64, 128-byte swizzle
  TensorMap d_output_map;  // (columns, rows), the same box
  FlashBackwardArgs args;
  int ticket_slot;  // of the counters by which items are dealt out
};

// Computing warpgroups of a thread block, and the registers of their threads: with keys the sums and what is in flight beside them take 192.
template <bool kKeys>
struct BackwardShape {
  static constexpr int kGroups = kKeys ? 2 : 3;
  static constexpr int kRegisters = kKeys ? 232 : 160;
  static constexpr int kLoaderRegisters = kKeys ? 40 : 32;
  static constexpr int kOwnBlock = kGroups * kOwnRows;
  static constexpr int kThreads = (kGroups + 1) * kWarpgroup;
};
inline constexpr int kMostGroups = 3;
static_assert(BackwardShape<false>::kOwnBlock == kBlockRows);  // BlockEnd

// What a block does next: rows of one head of a sequence. kKeys: they are keys, the stream is queries and dO, from the first that sees a key on. Otherwise
// they are queries and the stream is keys and values, up to the last that is seen.
struct alignas(16) BackwardItem {
  int32_t head;  // < 0: no more work
  int32_t sequence;
  int32_t begin;   // the sequence's first row
  int32_t length;  // of the sequence
  int32_t own;     // its rows begin at this multiple of kOwnRows
  int32_t groups;  // that have rows
  int32_t first, end;  // tiles of the stream
};

// ALiBi's reach (reach.h) is worth a pass over queries and keys from this length on. Its bounds lie behind the deltas in the workspace.
inline constexpr int kBackwardReach = 2048;
PRECIS_HOST_DEVICE int BoundChunks(int rows) { return (rows + kStreamRows - 1) / kStreamRows; }

inline constexpr int kOwnBuffers = 2;
inline constexpr int kBackwardItems = 2;

struct BackwardShared {
  alignas(1024) char own[kOwnBuffers][kMostGroups][2][kStreamBytes];  // keys and values, or queries and their dO
  char tiles[kStreamDepth][2][kStreamBytes];                         // the other pair
  float rows[kStreamDepth][2][kStreamRows];  // of queries: log-sum-exp (base 2, ALiBi's part included), delta
  BackwardItem items[kBackwardItems];
  Mbarrier item_full[kBackwardItems], item_empty[kBackwardItems];
  Mbarrier own_full[kOwnBuffers], own_empty[kOwnBuffers];
  Mbarrier full[kStreamDepth], empty[kStreamDepth];
  Mbarrier landed;  // a sequence's last tile, before rows past its end are cleared
};

}  // namespace precis::kernels::PRECIS_GPU_NS::sm90

#endif  // PRECIS_KERNELS_BACKWARD_SM90_LAYOUT_H_
