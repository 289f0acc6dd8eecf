// Products of at most 16 rows: bound by reading w. A block has 8 or 32 columns, a warp every so many splits of k; the splits meet in shared memory and are
// summed in order. The first weights are under way before the kernel before this one has ended.

#include "kernels/cuda/ops/gemm_common.h"
#include "kernels/cuda/ops/norm_row.h"
#include "kernels/cuda/ops_list.h"

namespace precis::kernels::PRECIS_GPU_NS {
namespace {

// Warps of a block: as registers allow, and no more than there are splits.
template <int kTiles, bool kNorm>
inline constexpr int kMaxWarps = kNorm ? 8 : kTiles > 1 ? 12 : 24;
constexpr int kBlocks = kSplit / 32;
constexpr int kNormVectors = 8;  // the widths to which the norm is fused: 1,024

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

// The rows of x, normalised, as bf16 rows of k + 8 elements (the padding spreads rows over banks). A row a warp at a time.
PRECIS_DEVICE void NormaliseRows(const GemmArgs& p, Bf16* to, int warp, int warps, int lane) {
  PRECIS_NO_UNROLL
  for (int m = warp; m < p.m; m += warps) {
    NormValues<kNormVectors> values;
    values.Load(static_cast<const float*>(p.x) + m * p.x_stride, p.k, lane);
    const NormFactors factors = values.Factors(p.k, p.norm_epsilon, lane);
    PRECIS_UNROLL
    for (int v = 0; v < kNormVectors; ++v) {
      const int column = 4 * (lane + 32 * v);
      if (column >= p.k) continue;
      float gain[4], bias[4], out[4];
      LoadVector(p.norm_gain + column, gain);
      LoadVector(p.norm_bias + column, bias);
      PRECIS_UNROLL
      for (int e = 0; e < 4; ++e) out[e] = Normalised(values.v[v][e], factors, gain[e], bias[e]);
      *reinterpret_cast<uint64_t*>(to + m * (p.k + 8) + column) = PackBf16(out[0], out[1]) | static_cast<uint64_t>(PackBf16(out[2], out[3])) << 32;
    }
  }
}

// kUpper false: m <= 8, the upper half of A is zero. kNorm: x is normalised first, by every block for itself.
template <class W, int kTiles, bool kUpper, bool kNorm>
PRECIS_KERNEL((32 * kMaxWarps<kTiles, kNorm>), 1) GemmDecodeKernel(const GemmArgs p, const int splits) {
  constexpr int kRows = kUpper ? 16 : 8;
  constexpr int kColumns = 8 * kTiles;
  float* partial = reinterpret_cast<float*>(DynamicShared());  // [splits][kRows][kColumns]
  const int warps = static_cast<int>(blockDim.x) / 32, warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const int first_column = static_cast<int>(blockIdx.x) * kColumns;
  SplitWeights<W, kTiles> weights;
  if (warp < splits) weights.Load(p, first_column, warp, lane);
  // A thread's outputs are all of one column: what it needs of that comes early too.
  const int column = first_column + static_cast<int>(threadIdx.x) % kColumns;
  const float scale = p.w_type == GpuType::kI8 && column < p.n ? p.w_scale[column] : 1.0f;
  const float bias = p.bias != nullptr && column < p.n ? p.bias[column] : 0.0f;
  GridDependencyLaunch();
  GridDependencyWait();
  const int row = lane / 4;
  const Bf16* x = static_cast<const Bf16*>(p.x);
  int64_t x_stride = p.x_stride;
  if (kNorm) {
    Bf16* normalised = reinterpret_cast<Bf16*>(partial + splits * kRows * kColumns);
    NormaliseRows(p, normalised, warp, warps, lane);
    SyncThreads();
    x = normalised;
    x_stride = p.k + 8;
  }
  const Bf16* low_row = x + row * x_stride;
  const Bf16* high_row = low_row + 8 * x_stride;
  for (int split = warp; split < splits; split += warps) {
    if (split != warp) weights.Load(p, first_column, split, lane);
    float d[kTiles][4] = {};
    PRECIS_UNROLL
    for (int block = 0; block < kBlocks; ++block) {
      const int k = split * kSplit + block * 32 + lane % 4 * 8;
      const Eight low = row < p.m && k < p.k ? ToEight(Load16(low_row + k)) : Eight{};
      const Eight high = kUpper && row + 8 < p.m && k < p.k ? ToEight(Load16(high_row + k)) : Eight{};
      PRECIS_UNROLL
      for (int half = 0; half < 2; ++half) {
        PRECIS_UNROLL
        for (int tile = 0; tile < kTiles; ++tile) Multiply16(d[tile], low, high, weights.b[tile][block], half);
      }
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
    StoreFinished(p, i / kColumns, column, Activate(Fma(sum, scale, bias), p.activation));
  }
}

template <class W, int kTiles, bool kUpper, bool kNorm = false>
void LaunchDecode(const GemmArgs& args, Stream stream) {
  const int splits = (args.k + kSplit - 1) / kSplit;
  constexpr int kMost = kMaxWarps<kTiles, kNorm>;
  const int rounds = (splits + kMost - 1) / kMost, warps = (splits + rounds - 1) / rounds;
  const int shared_bytes = splits * (kUpper ? 16 : 8) * 8 * kTiles * 4 + (kNorm ? args.m * (args.k + 8) * 2 : 0);
  Launch(GemmDecodeKernel<W, kTiles, kUpper, kNorm>,
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

template <class W>
void LaunchNorm(const GemmArgs& args, Stream stream) {
  LaunchDecode<W, 1, false, true>(args, stream);
}

}  // namespace

// Few rows: every block normalises all of them again, which costs less than a launch.
bool FusedNormGemmTakes(const GemmArgs& args) {
  const auto aligned = [](const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; };
  // A head has so many blocks that normalising in each costs more than a launch.
  return args.m <= 8 && args.n <= 8192 && args.k <= 128 * kNormVectors && args.k % (args.w_type == GpuType::kI8 ? 16 : 8) == 0 && args.w_type != GpuType::kF32 &&
         args.x_stride % 4 == 0 && aligned(args.x) && aligned(args.w) && aligned(args.norm_gain) && aligned(args.norm_bias);
}

void FusedNormGemm(const GemmArgs& args, Stream stream) {
  if (args.m == 0 || args.n == 0) return;
  args.w_type == GpuType::kI8 ? LaunchNorm<int8_t>(args, stream) : LaunchNorm<Bf16>(args, stream);
}

void GemmDecode(const GemmArgs& args, Stream stream) {
  args.w_type == GpuType::kI8 ? LaunchTyped<int8_t>(args, stream) : LaunchTyped<Bf16>(args, stream);
}

}  // namespace precis::kernels::PRECIS_GPU_NS
