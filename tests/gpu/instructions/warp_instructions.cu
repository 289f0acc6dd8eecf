// Instructions of sm_80: of one warp each. See instructions.h.

#include "kernels/cuda/platform/launch.h"
#include "kernels/cuda/platform/platform.h"
#include "kernels/cuda/platform/ptx.h"
#include "tests/gpu/instructions/instructions.h"

namespace precis::gpu_test::PRECIS_GPU_NS {
namespace {

using namespace kernels;                 // NOLINT
using namespace kernels::PRECIS_GPU_NS;  // NOLINT

constexpr int kSharedBytes = 1024;

template <class Op>
PRECIS_KERNEL(32, 1) Execute(const uint32_t* in, uint32_t* out) { Op::Run(in, out, static_cast<int>(threadIdx.x)); }

template <class Op>
Instruction Of(const char* name, Words words, int words_in, int words_out, double relative = 0, double absolute = 0) {
  return {name, words, words_in, words_out, relative, absolute, [](const uint32_t* in, uint32_t* out, Stream stream) {
            Launch(Execute<Op>, {.grid = 1, .block = 32, .shared_bytes = kSharedBytes, .stream = stream}, in, out);
          }};
}

// Exchanges.
struct XorOp {
  static PRECIS_DEVICE void Run(const uint32_t* in, uint32_t* out, int lane) { out[lane] = ShuffleXor(in[lane], 5); }
};
struct IdxOp {
  static PRECIS_DEVICE void Run(const uint32_t* in, uint32_t* out, int lane) { out[lane] = ShuffleIdx(in[lane], (lane * 7 + 3) & 31); }
};
struct DownOp {
  static PRECIS_DEVICE void Run(const uint32_t* in, uint32_t* out, int lane) { out[lane] = ShuffleDown(in[lane], 3); }
};
struct BallotOp {
  static PRECIS_DEVICE void Run(const uint32_t* in, uint32_t* out, int lane) { out[lane] = Ballot((in[lane] & 1) != 0); }
};
struct AtomicAddOp {
  static PRECIS_DEVICE void Run(const uint32_t* in, uint32_t* out, int lane) {
    int* sum = reinterpret_cast<int*>(DynamicShared());
    if (lane == 0) *sum = 0;
    SyncWarp();
    AtomicAdd(sum, static_cast<int>(in[lane] & 0xffff));
    SyncWarp();
    out[lane] = static_cast<uint32_t>(*sum);
  }
};
struct AtomicMaxOp {
  static PRECIS_DEVICE void Run(const uint32_t* in, uint32_t* out, int lane) {
    int* most = reinterpret_cast<int*>(DynamicShared());
    if (lane == 0) *most = -2147483647;
    SyncWarp();
    AtomicMax(most, static_cast<int>(in[lane]));
    SyncWarp();
    out[lane] = static_cast<uint32_t>(*most);
  }
};

// 128 words in shared memory are up to four 8x8 matrices of 16 bits, a row 16 bytes. Lane l gives row (5 l) mod 32, so that matrices mix rows.
PRECIS_DEVICE const char* Row(const uint32_t* in, int lane) {
  uint32_t* shared = reinterpret_cast<uint32_t*>(DynamicShared());
  for (int i = lane; i < 128; i += 32) shared[i] = in[i];
  SyncWarp();
  return DynamicShared() + (lane * 5 & 31) * 16;
}
template <bool kTransposed>
struct LdMatrix4Op {
  static PRECIS_DEVICE void Run(const uint32_t* in, uint32_t* out, int lane) {
    uint32_t r[4];
    if (kTransposed) {
      LdMatrixX4Trans(r, Row(in, lane));
    } else {
      LdMatrixX4(r, Row(in, lane));
    }
    for (int i = 0; i < 4; ++i) out[lane * 4 + i] = r[i];
  }
};
template <bool kTransposed>
struct LdMatrix2Op {
  static PRECIS_DEVICE void Run(const uint32_t* in, uint32_t* out, int lane) {
    uint32_t r[2];
    if (kTransposed) {
      LdMatrixX2Trans(r, Row(in, lane));
    } else {
      LdMatrixX2(r, Row(in, lane));
    }
    for (int i = 0; i < 2; ++i) out[lane * 2 + i] = r[i];
  }
};

// Fragments: a[4], b[2] of each lane; d starts as lane * 4 + i.
struct MmaBf16Op {
  static PRECIS_DEVICE void Run(const uint32_t* in, uint32_t* out, int lane) {
    const uint32_t a[4] = {in[lane * 6], in[lane * 6 + 1], in[lane * 6 + 2], in[lane * 6 + 3]};
    const uint32_t b[2] = {in[lane * 6 + 4], in[lane * 6 + 5]};
    float d[4];
    for (int i = 0; i < 4; ++i) d[i] = static_cast<float>(lane * 4 + i);
    MmaBf16(d, a, b);
    for (int i = 0; i < 4; ++i) reinterpret_cast<float*>(out)[lane * 4 + i] = d[i];
  }
};
struct MmaS8Op {
  static PRECIS_DEVICE void Run(const uint32_t* in, uint32_t* out, int lane) {
    const uint32_t a[4] = {in[lane * 6], in[lane * 6 + 1], in[lane * 6 + 2], in[lane * 6 + 3]};
    const uint32_t b[2] = {in[lane * 6 + 4], in[lane * 6 + 5]};
    int32_t d[4];
    for (int i = 0; i < 4; ++i) d[i] = lane * 4 + i;
    MmaS8(d, a, b);
    for (int i = 0; i < 4; ++i) out[lane * 4 + i] = static_cast<uint32_t>(d[i]);
  }
};

// Copies. Odd lanes' are not valid: zeros.
struct CpAsyncOp {
  static PRECIS_DEVICE void Run(const uint32_t* in, uint32_t* out, int lane) {
    CpAsync16(DynamicShared() + lane * 16, in + (31 - lane) * 4, lane % 2 == 0);
    CpAsyncCommit();
    CpAsyncWait<0>();
    SyncWarp();
    const uint32_t* shared = reinterpret_cast<const uint32_t*>(DynamicShared());
    for (int i = lane; i < 128; i += 32) out[i] = shared[i];
  }
};
struct Vec16Op {
  static PRECIS_DEVICE void Run(const uint32_t* in, uint32_t* out, int lane) {
    Store16(out + lane * 8, Load16(in + lane * 4));
    Store16(out + lane * 8 + 4, LoadStream16(in + (31 - lane) * 4));
  }
};

// Numbers.
PRECIS_DEVICE float FloatAt(const uint32_t* in, int i) { return reinterpret_cast<const float*>(in)[i]; }
PRECIS_DEVICE void PutFloat(uint32_t* out, int i, float value) { reinterpret_cast<float*>(out)[i] = value; }

struct Bf16Op {
  static PRECIS_DEVICE void Run(const uint32_t* in, uint32_t* out, int lane) {
    for (int i = lane; i < 2048; i += 32) {
      const float x = FloatAt(in, i), y = FloatAt(in, 2047 - i);
      out[2 * i] = ToBf16(x).bits;
      out[2 * i + 1] = PackBf16(x, y);
    }
  }
};
struct UnpackOp {
  static PRECIS_DEVICE void Run(const uint32_t* in, uint32_t* out, int lane) {
    float lo, hi;
    UnpackBf16(in[lane], lo, hi);
    PutFloat(out, 2 * lane, lo);
    PutFloat(out, 2 * lane + 1, hi);
  }
};
struct FmaOp {
  static PRECIS_DEVICE void Run(const uint32_t* in, uint32_t* out, int lane) {
    for (int i = lane; i < 2048; i += 32) PutFloat(out, i, Fma(FloatAt(in, i), FloatAt(in, (i + 1) & 2047), FloatAt(in, (i + 2) & 2047)));
  }
};
template <class Function>
struct ElementwiseOp {
  static PRECIS_DEVICE void Run(const uint32_t* in, uint32_t* out, int lane) {
    for (int i = lane; i < 2048; i += 32) PutFloat(out, i, Function::Of(FloatAt(in, i)));
  }
};
struct Exp2Function {
  static PRECIS_DEVICE float Of(float x) { return Exp2(x); }
};
struct Log2Function {
  static PRECIS_DEVICE float Of(float x) { return Log2(x); }
};
struct RsqrtFunction {
  static PRECIS_DEVICE float Of(float x) { return Rsqrt(x); }
};
struct TanhFunction {
  static PRECIS_DEVICE float Of(float x) { return Tanh(x); }
};
struct DivideOp {
  static PRECIS_DEVICE void Run(const uint32_t* in, uint32_t* out, int lane) {
    for (int i = lane; i < 2048; i += 32) PutFloat(out, i, FastDivide(FloatAt(in, i), FloatAt(in, 2047 - i)));
  }
};

}  // namespace

std::vector<Instruction> Instructions() {
  constexpr double kApproximate = 1e-6;
  return {
      Of<XorOp>("ShuffleXor", Words::kBits, 32, 32),
      Of<IdxOp>("ShuffleIdx", Words::kBits, 32, 32),
      Of<DownOp>("ShuffleDown", Words::kBits, 32, 32),
      Of<BallotOp>("Ballot", Words::kBits, 32, 32),
      Of<AtomicAddOp>("AtomicAdd", Words::kBits, 32, 32),
      Of<AtomicMaxOp>("AtomicMax", Words::kBits, 32, 32),
      Of<LdMatrix4Op<false>>("LdMatrixX4", Words::kBits, 128, 128),
      Of<LdMatrix4Op<true>>("LdMatrixX4Trans", Words::kBits, 128, 128),
      Of<LdMatrix2Op<false>>("LdMatrixX2", Words::kBits, 128, 64),
      Of<LdMatrix2Op<true>>("LdMatrixX2Trans", Words::kBits, 128, 64),
      Of<MmaBf16Op>("MmaBf16", Words::kBf16Pairs, 192, 128),
      Of<MmaS8Op>("MmaS8", Words::kBits, 192, 128),
      Of<CpAsyncOp>("CpAsync16", Words::kBits, 128, 128),
      Of<Vec16Op>("Load16, LoadStream16, Store16", Words::kBits, 128, 256),
      Of<Bf16Op>("ToBf16, PackBf16", Words::kBits, 2048, 4096),
      Of<UnpackOp>("UnpackBf16", Words::kBits, 32, 64),
      Of<FmaOp>("Fma", Words::kFloats, 2048, 2048),
      Of<ElementwiseOp<Exp2Function>>("Exp2", Words::kSmall, 2048, 2048, kApproximate),
      Of<ElementwiseOp<Log2Function>>("Log2", Words::kPositive, 2048, 2048, kApproximate, kApproximate),
      Of<ElementwiseOp<RsqrtFunction>>("Rsqrt", Words::kPositive, 2048, 2048, kApproximate),
      Of<ElementwiseOp<TanhFunction>>("Tanh", Words::kSmall, 2048, 2048, kApproximate),
      Of<DivideOp>("FastDivide", Words::kPositive, 2048, 2048, kApproximate),
  };
}

}  // namespace precis::gpu_test::PRECIS_GPU_NS
