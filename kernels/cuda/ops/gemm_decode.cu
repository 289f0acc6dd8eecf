// Products of at most 16 rows: bound by reading w. A block has 8 or 32 columns, a warp every so many splits of k; the splits meet in shared memory and are
// summed in order. The first weights are under way before the kernel before this one has ended.

#include "kernels/cuda/ops/gemm_common.h"
#include "kernels/cuda/ops_list.h"

namespace precis::kernels::PRECIS_GPU_NS {
namespace {

constexpr int kMaxWarps = 12;
constexpr int kBlocks = kSplit / 32;

PRECIS_DEVICE Eight LoadWeights(const Bf16* w) { return ToEight(LoadStream16(w)); }
PRECIS_DEVICE Eight LoadWeights(const int8_t* w) { return ToEight(*reinterpret_cast<const uint64_t*>(w)); }

template <class W, int kTiles>
struct SplitWeights {
  Eight b[kTiles][kBlocks];

  PRECIS_DEVICE void Load(const GemmArgs& p, int first_column, int split, int lane) {
    PRECIS_UNROLL
    for (int tile = 0; tile < kTiles; ++tile) {
      const int n = first_column + tile * 8 + lane / 4;
      const W* row = static_cast<const W*>(p.w) + static_cast<int64_t>(n) * p.k;
      PRECIS_UNROLL
      for (int block = 0; block < kBlocks; ++block) {
        const int k = split * kSplit + block * 32 + lane % 4 * 8;
        b[tile][block] = n < p.n && k < p.k ? LoadWeights(row + k) : Eight{};
      }
    }
  }
};

// kRowTiles 1: m <= 8, the upper half of A is zero.
template <class W, int kTiles, bool kUpper>
PRECIS_KERNEL(32 * kMaxWarps, 1) GemmDecodeKernel(const GemmArgs p, const int splits) {
  constexpr int kRows = kUpper ? 16 : 8;
  constexpr int kColumns = 8 * kTiles;
  float* partial = reinterpret_cast<float*>(DynamicShared());  // [splits][kRows][kColumns]
  const int warps = static_cast<int>(blockDim.x) / 32, warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const int first_column = static_cast<int>(blockIdx.x) * kColumns;
  SplitWeights<W, kTiles> weights;
  if (warp < splits) weights.Load(p, first_column, warp, lane);
  GridDependencyLaunch();
  GridDependencyWait();
  const int row = lane / 4;
  const Bf16* low_row = static_cast<const Bf16*>(p.x) + row * p.x_stride;
  const Bf16* high_row = low_row + 8 * p.x_stride;
  for (int split = warp; split < splits; split += warps) {
    if (split != warp) weights.Load(p, first_column, split, lane);
    float d[kTiles][4] = {};
    PRECIS_UNROLL
    for (int block = 0; block < kBlocks; ++block) {
      const int k = split * kSplit + block * 32 + lane % 4 * 8;
      const Eight low = row < p.m && k < p.k ? ToEight(Load16(low_row + k)) : Eight{};
      const Eight high = kUpper && row + 8 < p.m && k < p.k ? ToEight(Load16(high_row + k)) : Eight{};
      PRECIS_UNROLL
      for (int tile = 0; tile < kTiles; ++tile) Multiply32(d[tile], low, high, weights.b[tile][block]);
    }
    float* mine = partial + split * kRows * kColumns + row * kColumns + lane % 4 * 2;
    PRECIS_UNROLL
    for (int tile = 0; tile < kTiles; ++tile) {
      mine[tile * 8] = d[tile][0];
      mine[tile * 8 + 1] = d[tile][1];
      if (kUpper) {
        mine[8 * kColumns + tile * 8] = d[tile][2];
        mine[8 * kColumns + tile * 8 + 1] = d[tile][3];
      }
    }
  }
  SyncThreads();
  for (int i = static_cast<int>(threadIdx.x); i < kRows * kColumns; i += static_cast<int>(blockDim.x)) {
    float sum = 0;
    for (int split = 0; split < splits; ++split) sum += partial[split * kRows * kColumns + i];
    StoreOutput(p, i / kColumns, first_column + i % kColumns, sum);
  }
}

template <class W, int kTiles, bool kUpper>
void LaunchDecode(const GemmArgs& args, Stream stream) {
  const int splits = (args.k + kSplit - 1) / kSplit;
  const int rounds = (splits + kMaxWarps - 1) / kMaxWarps, warps = (splits + rounds - 1) / rounds;
  const int shared_bytes = splits * (kUpper ? 16 : 8) * 8 * kTiles * 4;
  Launch(GemmDecodeKernel<W, kTiles, kUpper>,
         {.grid = (args.n + 8 * kTiles - 1) / (8 * kTiles), .block = 32 * warps, .shared_bytes = shared_bytes, .stream = stream, .dependent = true}, args, splits);
}

template <class W>
void LaunchTyped(const GemmArgs& args, Stream stream) {
  const bool wide = args.n > 8192;  // enough blocks without small ones
  if (args.m <= 8) {
    wide ? LaunchDecode<W, 4, false>(args, stream) : LaunchDecode<W, 1, false>(args, stream);
  } else {
    wide ? LaunchDecode<W, 4, true>(args, stream) : LaunchDecode<W, 1, true>(args, stream);
  }
}

}  // namespace

void GemmDecode(const GemmArgs& args, Stream stream) {
  args.w_type == GpuType::kI8 ? LaunchTyped<int8_t>(args, stream) : LaunchTyped<Bf16>(args, stream);
}

}  // namespace precis::kernels::PRECIS_GPU_NS
