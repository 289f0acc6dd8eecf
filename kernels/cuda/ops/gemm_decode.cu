// Products of at most 64 rows: bound by reading w. A block has 8, 16 or 32 columns, a warp every so many splits of k; the splits meet in shared memory and are
// summed in order. The first weights are under way before the kernel before this one has ended.

#include "kernels/cuda/ops/gemm_common.h"
#include "kernels/cuda/ops/norm_row.h"
#include "kernels/cuda/ops_list.h"

namespace precis::kernels::PRECIS_GPU_NS {
namespace {

// Warps of a block: as registers allow, and no more than there are splits.
template <int kTiles, int kEights, bool kNorm>
inline constexpr int kMaxWarps = kNorm || kEights > 4 ? 8 : kTiles > 2 || kEights > 2 ? 12 : 24;
constexpr int kBlocks = kSplit / 32;
constexpr int kNormVectors = 8;  // the widths to which the norm is fused: 1,024
constexpr int kNormPadding = 8;  // elements between rows of what was normalised: spreads rows over banks

PRECIS_DEVICE Eight LoadWeights(const Bf16* w) { return ToEight(LoadStream16(w)); }
PRECIS_DEVICE Eight LoadWeights(const int8_t* w) { return Widened(*reinterpret_cast<const uint64_t*>(w)); }

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

// The norm's gain and bias, k floats each, into shared memory: they are weights, and come before the kernel's turn.
PRECIS_DEVICE void LoadAffine(const GemmArgs& p, float* affine) {
  for (int i = 4 * static_cast<int>(threadIdx.x); i < p.k; i += 4 * static_cast<int>(blockDim.x)) {
    Store16(affine + i, Load16(p.norm_gain + i));
    Store16(affine + p.k + i, Load16(p.norm_bias + i));
  }
}

// The rows of x, normalised, as bf16 rows of k + kNormPadding elements. A row a warp at a time.
PRECIS_DEVICE void NormaliseRows(const GemmArgs& p, const float* affine, Bf16* to, int warp, int warps, int lane) {
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
      LoadVector(affine + column, gain);
      LoadVector(affine + p.k + column, bias);
      PRECIS_UNROLL
      for (int e = 0; e < 4; ++e) out[e] = Normalised(values.v[v][e], factors, gain[e], bias[e]);
      *reinterpret_cast<uint64_t*>(to + m * (p.k + kNormPadding) + column) = PackBf16(out[0], out[1]) | static_cast<uint64_t>(PackBf16(out[2], out[3])) << 32;
    }
  }
}

// Eight values of k of rows row, row + 8, ...
template <int kEights, int kCount>
PRECIS_DEVICE void LoadRows(Eight (&a)[kCount], const GemmArgs& p, const Bf16* x, int64_t x_stride, int row, int k) {
  PRECIS_UNROLL
  for (int i = 0; i < kCount; ++i) {
    const int m = row + 8 * i;
    a[i] = i < kEights && m < p.m && k < p.k ? ToEight(Load16(x + m * x_stride + k)) : Eight{};
  }
}

// For at most 8 kEights rows; with one eight the upper half of A is zero. kNorm: x is normalised first, by every block for itself. kExchange: the bits of
// gemm_common.h; else each product takes other sixteens of k, which saves the exchange.
template <class W, int kTiles, int kEights, bool kNorm, bool kExchange>
PRECIS_KERNEL((32 * kMaxWarps<kTiles, kEights, kNorm>), 1) GemmDecodeKernel(const GemmArgs p, const int splits) {
  constexpr int kRows = 8 * kEights, kRowTiles = (kEights + 1) / 2;
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
  float* affine = partial + splits * kRows * kColumns;  // [2][k]
  if (kNorm) LoadAffine(p, affine);
  GridDependencyLaunch();
  GridDependencyWait();
  const int row = lane / 4;
  const Bf16* x = static_cast<const Bf16*>(p.x);
  int64_t x_stride = p.x_stride;
  if (kNorm) {
    SyncThreads();
    Bf16* normalised = reinterpret_cast<Bf16*>(affine + 2 * p.k);
    NormaliseRows(p, affine, normalised, warp, warps, lane);
    SyncThreads();
    x = normalised;
    x_stride = p.k + kNormPadding;
  }
  for (int split = warp; split < splits; split += warps) {
    if (split != warp) weights.Load(p, first_column, split, lane);
    float d[kRowTiles][kTiles][4] = {};
    Eight rows[2][2 * kRowTiles];  // of this block of k and, under way, of the next
    LoadRows<kEights>(rows[0], p, x, x_stride, row, split * kSplit + lane % 4 * 8);
    PRECIS_UNROLL
    for (int block = 0; block < kBlocks; ++block) {
      if (block + 1 < kBlocks) LoadRows<kEights>(rows[(block + 1) % 2], p, x, x_stride, row, split * kSplit + (block + 1) * 32 + lane % 4 * 8);
      Eight a[2 * kRowTiles], b[kTiles];
      PRECIS_UNROLL
      for (int i = 0; i < 2 * kRowTiles; ++i) a[i] = i < kEights && kExchange ? Exchanged(rows[block % 2][i], lane) : rows[block % 2][i];
      PRECIS_UNROLL
      for (int tile = 0; tile < kTiles; ++tile) b[tile] = kExchange ? Exchanged(weights.b[tile][block], lane) : weights.b[tile][block];
      PRECIS_UNROLL
      for (int half = 0; half < 2; ++half) {
        PRECIS_UNROLL
        for (int i = 0; i < kRowTiles; ++i) {
          PRECIS_UNROLL
          for (int tile = 0; tile < kTiles; ++tile) Multiply16(d[i][tile], a[2 * i], a[2 * i + 1], b[tile], half);
        }
      }
    }
    float* mine = partial + split * kRows * kColumns + row * kColumns + lane % 4 * 2;
    PRECIS_UNROLL
    for (int i = 0; i < kEights; ++i) {
      PRECIS_UNROLL
      for (int tile = 0; tile < kTiles; ++tile) {
        mine[i * 8 * kColumns + tile * 8] = d[i / 2][tile][i % 2 * 2];
        mine[i * 8 * kColumns + tile * 8 + 1] = d[i / 2][tile][i % 2 * 2 + 1];
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

template <class W, int kTiles, int kEights, bool kNorm, bool kExchange>
void LaunchKernel(const GemmArgs& args, Stream stream) {
  const int splits = (args.k + kSplit - 1) / kSplit;
  constexpr int kMost = kMaxWarps<kTiles, kEights, kNorm>;
  const int rounds = (splits + kMost - 1) / kMost, warps = (splits + rounds - 1) / rounds;
  const int shared_bytes = splits * 8 * kEights * 8 * kTiles * 4 + (kNorm ? 2 * args.k * 4 + args.m * (args.k + kNormPadding) * 2 : 0);
  Launch(GemmDecodeKernel<W, kTiles, kEights, kNorm, kExchange>,
         {.grid = (args.n + 8 * kTiles - 1) / (8 * kTiles), .block = 32 * warps, .shared_bytes = shared_bytes, .stream = stream, .dependent = true}, args, splits);
}

template <class W, int kTiles, int kEights, bool kNorm = false>
void LaunchDecode(const GemmArgs& args, Stream stream) {
  args.mode == GemmMode::kInvariant ? LaunchKernel<W, kTiles, kEights, kNorm, true>(args, stream) : LaunchKernel<W, kTiles, kEights, kNorm, false>(args, stream);
}

template <class W>
void LaunchTyped(const GemmArgs& args, Stream stream) {
  const bool wide = args.n > 8192;  // enough blocks without small ones
  if (args.m <= 8) {
    wide ? LaunchDecode<W, 4, 1>(args, stream) : LaunchDecode<W, 1, 1>(args, stream);
  } else if (args.m <= 16) {
    wide ? LaunchDecode<W, 4, 2>(args, stream) : LaunchDecode<W, 1, 2>(args, stream);
  } else {
    const bool narrow = args.n <= 1024 && args.k <= 1024;  // blocks of 16 columns would leave multiprocessors without one
    if (args.m <= 32) {
      narrow ? LaunchDecode<W, 1, 4>(args, stream) : LaunchDecode<W, 2, 4>(args, stream);
    } else {
      narrow ? LaunchDecode<W, 1, 8>(args, stream) : LaunchDecode<W, 2, 8>(args, stream);
    }
  }
}

template <class W>
void LaunchNorm(const GemmArgs& args, Stream stream) {
  LaunchDecode<W, 1, 1, true>(args, stream);
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
