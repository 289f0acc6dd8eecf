#ifndef PRECIS_KERNELS_CUDA_ATTENTION_DECODE_WARP_H_
#define PRECIS_KERNELS_CUDA_ATTENTION_DECODE_WARP_H_

// How a warp reads keys and values of one head from its pages for one query: 32 keys at a time. kLanes lanes share a key, 16 bytes each, so one load of the warp
// brings 32 / kLanes keys and kLanes loads bring all 32.

#include "kernels/cuda/attention/attention_common.h"

namespace precis::kernels::PRECIS_GPU_NS {

PRECIS_HOST_DEVICE constexpr int PowerOfTwoAtLeast(int n) {
  int power = 1;
  while (power < n) power *= 2;
  return power;
}

template <class T, int kHeadDim>
struct DecodeShape {
  static constexpr int kVector = kPerVector<T>;
  static constexpr int kVectors = kHeadDim / kVector;         // 16-byte pieces of a row
  static constexpr int kLanes = PowerOfTwoAtLeast(kVectors);  // lanes that share a key
  static constexpr int kGroups = 32 / kLanes;                 // keys loaded at once
  static constexpr int kBatch = kLanes < 8 ? kLanes : 8;      // loads in flight for keys, and for values
  static constexpr int kRowBytes = kHeadDim * static_cast<int>(sizeof(T));
};

// Which of a step's 32 keys a lane's score belongs to, after TransposingSum.
template <class Shape>
PRECIS_DEVICE int KeyOfLane(int lane) {
  return lane % Shape::kLanes * Shape::kGroups + lane / Shape::kLanes;
}

// What a warp knows about its keys.
struct WarpKeys {
  const char* keys;    // of the head, in page 0, at this lane's piece
  const char* values;
  int64_t page_stride;
  int pages;       // lane i: the id of the warp's i-th page
  int first;       // position of the warp's first key
  int context;
};

// Where a step's two pages lie in a layer's keys or values.
struct StepPages {
  int64_t offset[2];
};
PRECIS_DEVICE StepPages PagesOfStep(const WarpKeys& w, int step) {
  return StepPages{{ShuffleIdx(w.pages, 2 * step) * w.page_stride, ShuffleIdx(w.pages, 2 * step + 1) * w.page_stride}};
}

// The 16 bytes of this lane for load `index` of the step: key index * kGroups + lane / kLanes. Zero past the context.
template <class Shape>
PRECIS_DEVICE Vec16 LoadPiece(const WarpKeys& w, const char* part, const StepPages& pages, int step, int index, bool lane_used) {
  const int key = index * Shape::kGroups + static_cast<int>(threadIdx.x) % 32 / Shape::kLanes;
  Vec16 piece = {{0, 0, 0, 0}};
  if (lane_used && w.first + step * 32 + key < w.context) {
    piece = LoadStream16(part + pages.offset[index * Shape::kGroups / kTokensPerPage] + key % kTokensPerPage * Shape::kRowBytes);
  }
  return piece;
}

template <class T>
PRECIS_DEVICE void Unpack(const Vec16& piece, float (&v)[kPerVector<T>]) {
  if constexpr (sizeof(T) == 4) {
    PRECIS_UNROLL
    for (int i = 0; i < 4; ++i) v[i] = BitsToFloat(piece.w[i]);
  } else {
    PRECIS_UNROLL
    for (int i = 0; i < 4; ++i) UnpackBf16(piece.w[i], v[2 * i], v[2 * i + 1]);
  }
}

// s[i] of every lane of a group of kLanes is part of the sum i; returns sum (lane % kLanes).
template <int kLanes>
PRECIS_DEVICE float TransposingSum(const float (&s)[kLanes], int lane) {
  if constexpr (kLanes == 1) {
    return s[0];
  } else {
    constexpr int kHalf = kLanes / 2;
    const bool upper = (lane & kHalf) != 0;
    float half[kHalf];
    PRECIS_UNROLL
    for (int i = 0; i < kHalf; ++i) half[i] = (upper ? s[i + kHalf] : s[i]) + ShuffleXor(upper ? s[i] : s[i + kHalf], kHalf);
    return TransposingSum<kHalf>(half, lane);
  }
}

// Page ids of a warp that reads from position `first` on: lane i gets that of its i-th page, zero where it reads none.
PRECIS_DEVICE int LoadPageIds(const BatchRows& rows, int sequence, int first, int pages, int context) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int index = first / kTokensPerPage + lane;
  if (lane >= pages || index * kTokensPerPage >= context) return 0;
  return rows.block_table[static_cast<int64_t>(sequence) * rows.block_table_stride + index];
}

}  // namespace precis::kernels::PRECIS_GPU_NS

#endif  // PRECIS_KERNELS_CUDA_ATTENTION_DECODE_WARP_H_
