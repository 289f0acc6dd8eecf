#ifndef PRECIS_KERNELS_CUDA_ATTENTION_SM90_LAYOUT_H_
#define PRECIS_KERNELS_CUDA_ATTENTION_SM90_LAYOUT_H_

// Sizes, parameters and shared memory of the Hopper attention kernel. One thread block owns an SM: warpgroup 0 loads, warpgroups 1..3 compute 64 query rows
// each against a common stream of key and value tiles.

#include <cstdint>

#include "kernels/cuda/platform/platform.h"
#include "kernels/cuda/platform/ptx.h"

// Where the code of this folder exists: sm_90a, and the host. For other targets its kernels are empty; they are not launched there.
#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define PRECIS_SM90_CODE
#endif

// Loops of the loading warps, which have few registers.
#ifdef PRECIS_SIMT
#define PRECIS_NO_UNROLL
#else
#define PRECIS_NO_UNROLL _Pragma("unroll 1")
#endif

namespace precis::kernels::PRECIS_GPU_NS::sm90 {

inline constexpr int kHeadDim = 64;
inline constexpr int kTileKeys = 128;  // key tiles stand at absolute positions: multiples of this
inline constexpr int kPageTokens = 16;
inline constexpr int kPagesPerTile = kTileKeys / kPageTokens;
inline constexpr int kConsumers = 3;
inline constexpr int kGroupRows = 64;
inline constexpr int kBlockRows = kConsumers * kGroupRows;
inline constexpr int kWarpgroup = 128;
inline constexpr int kThreads = (kConsumers + 1) * kWarpgroup;
inline constexpr int kStages = 4;   // tiles of keys, and tiles of values, in flight
inline constexpr int kQueryBuffers = 2;
inline constexpr int kItemSlots = 4;
inline constexpr int kTicketSlots = 64;  // launches in flight, at most
inline constexpr int kNormRows = 64;     // queries whose longest is kept; divides kBlockRows

inline constexpr int kPageBytes = kPageTokens * kHeadDim * 2;
inline constexpr int kTileBytes = kTileKeys * kHeadDim * 2;
inline constexpr int kGroupBytes = kGroupRows * kHeadDim * 2;

// The variants of the engine: what is added to a score.
struct LearnedPolicy {
  static constexpr bool kAlibi = false;
};
struct AlibiPolicy {
  static constexpr bool kAlibi = true;
};

// What the kernel is given. Tensor maps lie in constant memory: the copy engine reads them there.
struct FlashParams {
  TensorMap query_map;  // (columns of qkv, rows), box 64 x 64, 128-byte swizzle
  TensorMap cache_map;  // (head size, tokens of a page, heads, parts, pages), box 64 x 16 x 1 x 1 x 1, 128-byte swizzle
  const int32_t* query_begin;
  const int32_t* query_count;
  const int32_t* context_length;
  const int32_t* block_table;
  Bf16* output;
  float* log_sum_exp;  // or null
  const float* alibi_slopes;
  int64_t output_stride;       // elements
  int64_t log_sum_exp_stride;  // elements from head to head
  int block_table_stride;
  int sequences;
  int heads;
  int key_part;  // the layer's keys among a page's parts; its values follow
  float scale;
  int ticket_slot;  // of the tile scheduler's counters; < 0: items are dealt out in a fixed order
  // ALiBi's reach (reach.h), or null: then every tile is computed.
  const float* norms;  // [sequences][heads][norm_tiles + norm_chunks]: the longest key of each tile, then the longest query of each kNormRows rows
  int norm_tiles, norm_chunks;
};

// A block of query rows of one head of one sequence.
struct alignas(16) WorkItem {
  int32_t head;  // < 0: no more work
  int32_t sequence;
  int32_t output_row;  // of the first row
  int32_t rows;        // 1 .. kBlockRows
  int32_t position;    // of the first row
  int32_t context;
  int32_t tiles;  // of keys, up to the last row's position
  int32_t first_tile;  // earlier ones are out of reach (reach.h)
};

// Where the search for the next item stands: above blocks have more than `tiles` key tiles, through at least as many.
struct ScheduleState {
  int32_t tiles, above, through;
  int32_t round;  // items dealt out so far
};

// The operands of ALiBi's product (softmax.h) for one head, and the columns of a tile: core matrices of 8 rows x 16 bytes, the second of a pair for k from 8 on.
inline constexpr int kCoreBytes = 128;
inline constexpr int kBiasHeadBytes = 2 * kCoreBytes;
inline constexpr int kBiasColumnBytes = kTileKeys / 8 * 2 * kCoreBytes;

// Of all heads. The product reads one head's bytes again and again (stride 0); compute-sanitizer takes it to read 64 rows in a line, hence the room at the end.
PRECIS_HOST_DEVICE int BiasBytes(int heads) { return (heads - 1) * kBiasHeadBytes + kGroupRows * 16 * 2; }

struct SharedBlock {
  alignas(1024) char query[kQueryBuffers][kConsumers][kGroupBytes];
  char keys[kStages][kTileBytes];
  char values[kStages][kTileBytes];
  char bias_columns[kBiasColumnBytes];
  WorkItem items[kItemSlots];
  ScheduleState schedule;
  Mbarrier item_full[kItemSlots], item_empty[kItemSlots];
  Mbarrier query_full[kQueryBuffers], query_empty[kQueryBuffers];
  Mbarrier key_full[kStages], key_empty[kStages];
  Mbarrier value_full[kStages], value_empty[kStages];
  Mbarrier value_landed[kStages];  // a tile that the patching warp completes before it counts as full
  // ALiBi: kBiasHeadBytes for each head follow.
  PRECIS_DEVICE char* bias_heads() { return reinterpret_cast<char*>(this) + sizeof(SharedBlock); }
};
static_assert(sizeof(SharedBlock) % kCoreBytes == 0);

PRECIS_DEVICE int Min(int a, int b) { return a < b ? a : b; }
PRECIS_DEVICE int Max(int a, int b) { return a > b ? a : b; }

// A sequence's rows are cut into blocks from the end: what is left over, one to kConsumers groups, is the first block, which sees the fewest keys. At the end it
// would keep groups idle for the longest row of tiles.
PRECIS_HOST_DEVICE int BlockCount(int rows) { return (rows + kBlockRows - 1) / kBlockRows; }
// By so much the last group is not full.
PRECIS_HOST_DEVICE int MissingRows(int rows) { return -rows & (kGroupRows - 1); }
// Of the block that `after` others follow; the last one ends where it would if its last group were full.
PRECIS_HOST_DEVICE int BlockEnd(int rows, int after) { return rows + MissingRows(rows) - after * kBlockRows; }

// Which stage of a ring comes next, and its parity there. A waiter for "full" waits on parity(), a filler waits for "empty" on parity() ^ 1.
template <int kDepth>
struct Ring {
  int index = 0;
  int phase = 0;
  PRECIS_DEVICE void Advance() {
    if (++index == kDepth) {
      index = 0;
      phase ^= 1;
    }
  }
  PRECIS_DEVICE void Advance(int count) {
    const int sum = index + count;
    index = sum % kDepth;
    phase ^= (sum / kDepth) & 1;
  }
};

}  // namespace precis::kernels::PRECIS_GPU_NS::sm90

#endif  // PRECIS_KERNELS_CUDA_ATTENTION_SM90_LAYOUT_H_
