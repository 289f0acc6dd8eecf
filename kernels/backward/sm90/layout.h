#ifndef PRECIS_KERNELS_BACKWARD_SM90_LAYOUT_H_
#define PRECIS_KERNELS_BACKWARD_SM90_LAYOUT_H_

// Sizes, parameters and shared memory of the Hopper backward kernels. A thread block owns rows of one head, keys or queries, 64 for each of its computing
// warpgroups, and walks the other kind in tiles of 64 rows, which a loading warpgroup brings.

#include "kernels/backward/flash_backward_tile.h"
#include "kernels/cuda/attention_sm90/layout.h"

namespace precis::kernels::PRECIS_GPU_NS::sm90 {

inline constexpr int kOwnRows = 64;  // of a group
inline constexpr int kStreamRows = 64;  // tiles stand at multiples of this from the sequence's start
inline constexpr int kStreamBytes = kStreamRows * kHeadDim * 2;
inline constexpr int kStreamDepth = 6;

struct BackwardParams {
  TensorMap qkv_map;       // (columns of qkv, rows), box 64 x 64, 128-byte swizzle
  TensorMap d_output_map;  // (columns, rows), the same box
  FlashBackwardArgs args;
};

// Computing warpgroups of a thread block, and the registers of their threads: with keys the sums and what is in flight beside them take 192.
template <bool kKeys>
struct BackwardShape {
  static constexpr int kGroups = kKeys ? 2 : 3;
  static constexpr int kRegisters = kKeys ? 240 : 160;
  static constexpr int kOwnBlock = kGroups * kOwnRows;
  static constexpr int kThreads = (kGroups + 1) * kWarpgroup;
};
inline constexpr int kMostGroups = 3;

struct BackwardShared {
  alignas(1024) char own[kMostGroups][2][kStreamBytes];  // keys and values, or queries and their dO
  char tiles[kStreamDepth][2][kStreamBytes];                 // the other pair
  float rows[kStreamDepth][2][kStreamRows];                 // of queries: log-sum-exp (base 2, ALiBi's part included), delta
  Mbarrier own_full;
  Mbarrier full[kStreamDepth], empty[kStreamDepth];
  Mbarrier landed;  // the sequence's last tile, before rows past its end are cleared
};

// What a block does. kKeys: its rows are keys, the stream is queries and dO, from the first that sees a key on. Otherwise its rows are queries and the stream
// is keys and values.
template <bool kKeys>
struct BackwardWork {
  int head, sequence, block, length;
  int first, end;  // tiles of the stream

  PRECIS_DEVICE explicit BackwardWork(const FlashBackwardArgs& args)
      : head(static_cast<int>(blockIdx.x)), sequence(static_cast<int>(blockIdx.y)),
        // The longest blocks come first: early keys, late queries.
        block(kKeys ? static_cast<int>(blockIdx.z) : static_cast<int>(gridDim.z - 1 - blockIdx.z)), length(args.length[sequence]) {
    const int tiles = (length + kStreamRows - 1) / kStreamRows;
    first = kKeys ? block * BackwardShape<kKeys>::kGroups : 0;
    end = kKeys ? tiles : Min(tiles, (block + 1) * BackwardShape<kKeys>::kGroups);
  }
  PRECIS_DEVICE bool empty() const { return block * BackwardShape<kKeys>::kOwnBlock >= length; }
};

}  // namespace precis::kernels::PRECIS_GPU_NS::sm90

#endif  // PRECIS_KERNELS_BACKWARD_SM90_LAYOUT_H_
