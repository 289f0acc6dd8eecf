#ifndef PRECIS_KERNELS_LAB_MMA_FLASH_H_
#define PRECIS_KERNELS_LAB_MMA_FLASH_H_

// Versions 3 and 4 in one: m16n8k16 products, 4 warps, kMTiles * 16 queries a warp, tiles of 64 keys in kStages buffers.
//
// The trick that saves the trip through shared memory: the accumulator of S (row g and g + 8, columns 2t and 2t + 1 of each n8 tile) is the A operand of
// the next product, once rounded to bf16 and two n8 tiles taken as one k16 step. So P never leaves registers.

#include <cmath>

#include "kernels/cuda/fragments.h"
#include "kernels/cuda/platform/launch.h"
#include "kernels/lab/lab.h"

namespace precis::kernels::PRECIS_GPU_NS {

template <int kMTiles_, int kStages_>
struct MmaFlashShape {
  static constexpr int kMTiles = kMTiles_, kStages = kStages_;
  static constexpr int kWarps = 4, kThreads = 32 * kWarps;
  static constexpr int kQueries = 16 * kMTiles * kWarps, kKeys = 64;
  using QueryTile = SharedTile<kQueries, kLabHeadDim>;
  using KeyTile = SharedTile<kKeys, kLabHeadDim>;
  static constexpr int kSharedBytes = QueryTile::kBytes + 2 * kStages * KeyTile::kBytes;
};

template <class Shape>
class MmaFlash {
 public:
  static constexpr int kMTiles = Shape::kMTiles, kKeys = Shape::kKeys, kThreads = Shape::kThreads;
  static constexpr int kKTiles = kKeys / 8, kDTiles = kLabHeadDim / 8, kKSteps = kLabHeadDim / 16;

  PRECIS_DEVICE MmaFlash(const LabArgs& args, int head, int query0)
      : a_(args), base_(int64_t{head} * args.length * kLabHeadDim), query0_(query0), scale_log2_(args.scale * kLog2e),
        slope_log2_(args.slopes != nullptr ? args.slopes[head] * kLog2e : 0.0f) {
    queries_.data = reinterpret_cast<Bf16*>(DynamicShared());
    PRECIS_UNROLL
    for (int m = 0; m < kMTiles; ++m) max_[m][0] = max_[m][1] = -INFINITY;
  }

  PRECIS_DEVICE void Run() {
    const int end = query0_ + Shape::kQueries < a_.length ? query0_ + Shape::kQueries : a_.length;
    CopyTile<kThreads>(queries_, a_.q + base_, kLabHeadDim, query0_, a_.length);
    Fetch(0, 0);
    for (int key0 = 0, stage = 0; key0 < end; key0 += kKeys) {
      const int next = Shape::kStages == 1 ? 0 : stage ^ 1;
      const bool more = key0 + kKeys < end;
      if (Shape::kStages > 1 && more) {
        Fetch(key0 + kKeys, next);
        CpAsyncWait<1>();
      } else {
        CpAsyncWait<0>();
      }
      SyncThreads();
      Step(key0, stage);
      SyncThreads();
      if (Shape::kStages == 1 && more) Fetch(key0 + kKeys, 0);
      stage = next;
    }
    Store();
  }

 private:
  static constexpr float kLog2e = 1.4426950408889634f;

  PRECIS_DEVICE typename Shape::KeyTile Tile(int index) const {
    return {reinterpret_cast<Bf16*>(DynamicShared() + Shape::QueryTile::kBytes + index * Shape::KeyTile::kBytes)};
  }
  PRECIS_DEVICE void Fetch(int key0, int stage) {
    CopyTile<kThreads>(Tile(2 * stage), a_.k + base_, kLabHeadDim, key0, a_.length);
    CopyTile<kThreads>(Tile(2 * stage + 1), a_.v + base_, kLabHeadDim, key0, a_.length);
    CpAsyncCommit();
  }

  PRECIS_DEVICE void Step(int key0, int stage) {
    float s[kMTiles][kKTiles][4] = {};
    Scores(s, Tile(2 * stage));
    PRECIS_UNROLL
    for (int m = 0; m < kMTiles; ++m) {
      Bias(s[m], m, key0);
      Softmax(s[m], m);
    }
    WeightedSum(s, Tile(2 * stage + 1));
  }

  PRECIS_DEVICE void Scores(float (&s)[kMTiles][kKTiles][4], const typename Shape::KeyTile& keys) {
    PRECIS_UNROLL
    for (int k = 0; k < kKSteps; ++k) {
      uint32_t a[kMTiles][4];
      PRECIS_UNROLL
      for (int m = 0; m < kMTiles; ++m) LoadA(a[m], queries_, Row(m), k * 16);
      PRECIS_UNROLL
      for (int n = 0; n < kKTiles; n += 2) {
        uint32_t b[4];
        LoadB(b, keys, n * 8, k * 16);
        PRECIS_UNROLL
        for (int m = 0; m < kMTiles; ++m) MmaPair(s[m][n], s[m][n + 1], a[m], b);
      }
    }
  }

  // Scale, ALiBi, mask; scores become exponents of two.
  PRECIS_DEVICE void Bias(float (&s)[kKTiles][4], int m, int key0) {
    const int lane = threadIdx.x % 32;
    PRECIS_UNROLL
    for (int n = 0; n < kKTiles; ++n) {
      PRECIS_UNROLL
      for (int i = 0; i < 4; ++i) {
        const int key = key0 + n * 8 + lane % 4 * 2 + i % 2, query = query0_ + Row(m) + lane / 4 + i / 2 * 8;
        s[n][i] = key <= query ? Fma(s[n][i], scale_log2_, slope_log2_ * static_cast<float>(key - query)) : -INFINITY;
      }
    }
  }

  // Online softmax of rows g (half 0) and g + 8 (half 1); a row lies in four neighbouring lanes.
  PRECIS_DEVICE void Softmax(float (&s)[kKTiles][4], int m) {
    PRECIS_UNROLL
    for (int half = 0; half < 2; ++half) {
      float max = max_[m][half];
      PRECIS_UNROLL
      for (int n = 0; n < kKTiles; ++n) max = fmaxf(max, fmaxf(s[n][2 * half], s[n][2 * half + 1]));
      max = fmaxf(max, ShuffleXor(max, 1));
      max = fmaxf(max, ShuffleXor(max, 2));
      const float rescale = Exp2(max_[m][half] - max);
      max_[m][half] = max;
      sum_[m][half] *= rescale;
      PRECIS_UNROLL
      for (int n = 0; n < kDTiles; ++n) {
        o_[m][n][2 * half] *= rescale;
        o_[m][n][2 * half + 1] *= rescale;
      }
      PRECIS_UNROLL
      for (int n = 0; n < kKTiles; ++n) {
        PRECIS_UNROLL
        for (int i = 2 * half; i < 2 * half + 2; ++i) {
          s[n][i] = Exp2(s[n][i] - max);
          sum_[m][half] += s[n][i];  // of this lane's columns; lanes are added at the end
        }
      }
    }
  }

  PRECIS_DEVICE void WeightedSum(const float (&p)[kMTiles][kKTiles][4], const typename Shape::KeyTile& values) {
    PRECIS_UNROLL
    for (int k = 0; k < kKTiles; k += 2) {
      uint32_t a[kMTiles][4];
      PRECIS_UNROLL
      for (int m = 0; m < kMTiles; ++m) PackA(a[m], p[m][k], p[m][k + 1]);
      PRECIS_UNROLL
      for (int n = 0; n < kDTiles; n += 2) {
        uint32_t b[4];
        LoadBTransposed(b, values, n * 8, k * 8);
        PRECIS_UNROLL
        for (int m = 0; m < kMTiles; ++m) MmaPair(o_[m][n], o_[m][n + 1], a[m], b);
      }
    }
  }

  PRECIS_DEVICE void Store() {
    const int lane = threadIdx.x % 32;
    PRECIS_UNROLL
    for (int m = 0; m < kMTiles; ++m) {
      PRECIS_UNROLL
      for (int half = 0; half < 2; ++half) {
        float sum = sum_[m][half];
        sum += ShuffleXor(sum, 1);
        sum += ShuffleXor(sum, 2);
        const int query = query0_ + Row(m) + lane / 4 + half * 8;
        if (query >= a_.length) continue;
        PRECIS_UNROLL
        for (int n = 0; n < kDTiles; ++n) {
          const float *o = o_[m][n] + 2 * half;
          *reinterpret_cast<uint32_t*>(a_.output + base_ + int64_t{query} * kLabHeadDim + n * 8 + lane % 4 * 2) = PackBf16(o[0] / sum, o[1] / sum);
        }
      }
    }
  }

  PRECIS_DEVICE static int Row(int m) { return (threadIdx.x / 32 * kMTiles + m) * 16; }

  const LabArgs& a_;
  const int64_t base_;
  const int query0_;
  const float scale_log2_, slope_log2_;
  typename Shape::QueryTile queries_;
  float max_[kMTiles][2];
  float sum_[kMTiles][2] = {};
  float o_[kMTiles][kDTiles][4] = {};
};

template <class Shape>
PRECIS_KERNEL(Shape::kThreads, 2) MmaFlashKernel(const PRECIS_GRID_CONSTANT LabArgs args) {
  // The last queries see the most keys: longest first.
  const int block = gridDim.x - 1 - blockIdx.x;
  MmaFlash<Shape>(args, blockIdx.y, block * Shape::kQueries).Run();
}

template <class Shape>
void RunMmaFlash(const LabArgs& args, Stream stream) {
  Launch(MmaFlashKernel<Shape>,
         LaunchConfig{.grid = Dim3((args.length + Shape::kQueries - 1) / Shape::kQueries, args.heads), .block = Dim3(Shape::kThreads),
                      .shared_bytes = Shape::kSharedBytes, .stream = stream},
         args);
}

}  // namespace precis::kernels::PRECIS_GPU_NS

#endif  // PRECIS_KERNELS_LAB_MMA_FLASH_H_
