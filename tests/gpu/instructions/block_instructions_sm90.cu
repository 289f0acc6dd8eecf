// Instructions of sm_90a: barriers in memory, tensor copies, warpgroup products. See instructions.h.

#include <cstdio>

#include "kernels/cuda/platform/launch.h"
#include "kernels/cuda/platform/platform.h"
#include "kernels/cuda/platform/ptx.h"
#include "kernels/cuda/platform/tensor_map.h"
#include "tests/gpu/instructions/boxes.h"
#include "tests/gpu/instructions/instructions.h"

namespace precis::gpu_test::PRECIS_GPU_NS {
namespace {

using namespace kernels;                 // NOLINT
using namespace kernels::PRECIS_GPU_NS;  // NOLINT

constexpr int kThreads = 128;

PRECIS_DEVICE uint32_t* SharedWords() { return reinterpret_cast<uint32_t*>(DynamicShared()); }
PRECIS_DEVICE void CopyWords(uint32_t* to, const uint32_t* from, int words) {
  for (int i = static_cast<int>(threadIdx.x); i < words; i += kThreads) to[i] = from[i];
}

TensorMap MapOf(const BoxSpec& spec, void* base) {
  TensorMapSpec out = {.base = base, .element_bytes = spec.element_bytes, .rank = spec.rank, .swizzle = spec.swizzle};
  uint64_t stride = static_cast<uint64_t>(spec.element_bytes);
  for (int i = 0; i < spec.rank; ++i) {
    out.dims[i] = static_cast<uint64_t>(spec.dims[i]);
    out.box[i] = static_cast<uint32_t>(spec.box[i]);
    out.strides[i] = stride;
    stride *= out.dims[i];
  }
  TensorMap map = {};
  if (!MakeTensorMap(out, &map)) std::fprintf(stderr, "%s: the driver refuses the tensor map\n", spec.name);
  return map;
}

template <int kBox>
PRECIS_DEVICE void Load(void* shared, const TensorMap* map, Mbarrier* bar) {
  constexpr BoxSpec s = kBoxes[kBox];
  if constexpr (s.rank == 2) TmaLoad2d(shared, map, bar, s.at[0], s.at[1]);
  if constexpr (s.rank == 3) TmaLoad3d(shared, map, bar, s.at[0], s.at[1], s.at[2]);
  if constexpr (s.rank == 4) TmaLoad4d(shared, map, bar, s.at[0], s.at[1], s.at[2], s.at[3]);
  if constexpr (s.rank == 5) TmaLoad5d(shared, map, bar, s.at[0], s.at[1], s.at[2], s.at[3], s.at[4]);
}
template <int kBox>
PRECIS_DEVICE void Store(const TensorMap* map, const void* shared) {
  constexpr BoxSpec s = kBoxes[kBox];
  if constexpr (s.rank == 2) TmaStore2d(map, shared, s.at[0], s.at[1]);
  if constexpr (s.rank == 3) TmaStore3d(map, shared, s.at[0], s.at[1], s.at[2]);
  if constexpr (s.rank == 4) TmaStore4d(map, shared, s.at[0], s.at[1], s.at[2], s.at[3]);
}

// Twice through one barrier, so that both parities are waited for; the result is what lies in shared memory.
template <int kBox>
PRECIS_KERNEL(kThreads, 1) LoadKernel(const PRECIS_GRID_CONSTANT TensorMap map, uint32_t* out) {
  constexpr int kWords = BoxWords(kBoxes[kBox]);
  Mbarrier* bar = reinterpret_cast<Mbarrier*>(DynamicShared() + kWords * 4);
  if (threadIdx.x == 0) {
    MbarrierInit(bar, 1);
    MbarrierFenceInit();
  }
  SyncThreads();
  for (int parity = 0; parity < 2; ++parity) {
    if (threadIdx.x == 0) {
      MbarrierArriveExpectTx(bar, kWords * 4);
      Load<kBox>(DynamicShared(), &map, bar);
    }
    MbarrierWait(bar, parity);
    SyncThreads();
  }
  CopyWords(out, SharedWords(), kWords);
  SyncThreads();
  if (threadIdx.x == 0) MbarrierInvalidate(bar);
}

// `in` is what lies in shared memory; the result is the tensor.
template <int kBox>
PRECIS_KERNEL(kThreads, 1) StoreKernel(const PRECIS_GRID_CONSTANT TensorMap map, const uint32_t* in) {
  CopyWords(SharedWords(), in, BoxWords(kBoxes[kBox]));
  FenceProxyAsync();
  SyncThreads();
  if (threadIdx.x == 0) {
    Store<kBox>(&map, DynamicShared());
    TmaStoreCommit();
    TmaStoreWait<0>();
  }
}

template <int kBox>
void AddBoxes(std::vector<Instruction>* out) {
  constexpr BoxSpec kSpec = kBoxes[kBox];
  constexpr int kBoxWords = BoxWords(kSpec), kTensorWords = TensorWords(kSpec);
  out->push_back({std::string("TmaLoad, ") + kSpec.name, Words::kBits, kTensorWords, kBoxWords, 0, 0, [](const uint32_t* in, uint32_t* words, Stream stream) {
                    Launch(LoadKernel<kBox>, {.grid = 1, .block = kThreads, .shared_bytes = kBoxWords * 4 + 16, .stream = stream},
                           MapOf(kBoxes[kBox], const_cast<uint32_t*>(in)), words);
                  }});
  if constexpr (CanStore(kSpec)) {
    out->push_back({std::string("TmaStore, ") + kSpec.name, Words::kBits, kBoxWords, kTensorWords, 0, 0, [](const uint32_t* in, uint32_t* words, Stream stream) {
                      Launch(StoreKernel<kBox>, {.grid = 1, .block = kThreads, .shared_bytes = kBoxWords * 4, .stream = stream}, MapOf(kBoxes[kBox], words), in);
                    }});
  }
  if constexpr (kBox + 1 < static_cast<int>(std::size(kBoxes))) AddBoxes<kBox + 1>(out);
}

// Products of a warpgroup. Shared memory is filled with 16 KiB of A's words, then 16 KiB of B's; two products in a row, the second accumulates.
constexpr int kOperandBytes = 16 << 10;
template <int N, bool kTransposed, Swizzle kSwizzle, bool kRegisters>
PRECIS_KERNEL(kThreads, 1) ProductKernel(const uint32_t* in, uint32_t* out) {
  CopyWords(SharedWords(), in, kOperandBytes / 2);
  FenceProxyAsync();
  SyncThreads();
  const int thread = static_cast<int>(threadIdx.x);
  constexpr int kSpan = kSwizzle == Swizzle::k128 ? 128 : kSwizzle == Swizzle::k64 ? 64 : kSwizzle == Swizzle::k32 ? 32 : 16;
  // Without swizzle the two halves of k lie 128 bytes apart, 8-row groups 256.
  constexpr int kStride = kSwizzle == Swizzle::kNone ? 256 : kSpan * 8;
  const uint64_t a = SharedDescriptor(DynamicShared(), 128, kStride, kSwizzle);
  const char* b_words = DynamicShared() + kOperandBytes;
  const uint64_t b = kTransposed ? SharedDescriptor(b_words, 2048, 1024, kSwizzle) : SharedDescriptor(b_words, 128, kStride, kSwizzle);
  const uint32_t registers[4] = {in[thread * 4], in[thread * 4 + 1], in[thread * 4 + 2], in[thread * 4 + 3]};
  float d[N / 2];
  PRECIS_UNROLL
  for (int i = 0; i < N / 2; ++i) d[i] = 1e6f;  // the first product overwrites it
  WgmmaFence();
  for (int again = 0; again < 2; ++again) {
    if constexpr (kRegisters) {
      WgmmaRS<N, kTransposed>(d, registers, b, again != 0);
    } else {
      WgmmaSS<N, kTransposed>(d, a, b, again != 0);
    }
  }
  WgmmaCommit();
  WgmmaWait<0>();
  PRECIS_UNROLL
  for (int i = 0; i < N / 2; ++i) reinterpret_cast<float*>(out)[thread * (N / 2) + i] = d[i];
}

template <int N, bool kTransposed, Swizzle kSwizzle, bool kRegisters>
Instruction Product(const char* name) {
  return {name, Words::kBf16Pairs, kOperandBytes / 2, kThreads * N / 2, 0, 0, [](const uint32_t* in, uint32_t* out, Stream stream) {
            Launch(ProductKernel<N, kTransposed, kSwizzle, kRegisters>, {.grid = 1, .block = kThreads, .shared_bytes = 2 * kOperandBytes, .stream = stream}, in, out);
          }};
}

PRECIS_KERNEL(kThreads, 1) ElectKernel(const uint32_t* in, uint32_t* out) {
  const unsigned elected = Ballot(ElectOne());
  out[threadIdx.x] = elected != 0 && (elected & (elected - 1)) == 0 ? in[0] : 0;  // exactly one, whichever
}

}  // namespace

std::vector<Instruction> InstructionsSm90() {
  std::vector<Instruction> out;
  AddBoxes<0>(&out);
  out.push_back(Product<64, false, Swizzle::kNone, false>("wgmma, A shared, N 64, no swizzle"));
  out.push_back(Product<64, false, Swizzle::k32, false>("wgmma, A shared, N 64, 32-byte swizzle"));
  out.push_back(Product<64, false, Swizzle::k64, false>("wgmma, A shared, N 64, 64-byte swizzle"));
  out.push_back(Product<64, false, Swizzle::k128, false>("wgmma, A shared, N 64, 128-byte swizzle"));
  out.push_back(Product<128, false, Swizzle::k128, false>("wgmma, A shared, N 128, 128-byte swizzle"));
  out.push_back(Product<64, true, Swizzle::k128, false>("wgmma, A shared, N 64, B N-major"));
  out.push_back(Product<128, true, Swizzle::k128, false>("wgmma, A shared, N 128, B N-major"));
  out.push_back(Product<64, false, Swizzle::k128, true>("wgmma, A in registers, N 64"));
  out.push_back(Product<128, false, Swizzle::k128, true>("wgmma, A in registers, N 128"));
  out.push_back(Product<64, true, Swizzle::k128, true>("wgmma, A in registers, N 64, B N-major"));
  out.push_back(Product<128, true, Swizzle::k128, true>("wgmma, A in registers, N 128, B N-major"));
  out.push_back({"ElectOne", Words::kBits, 1, kThreads, 0, 0, [](const uint32_t* in, uint32_t* words, Stream stream) {
                   Launch(ElectKernel, {.grid = 1, .block = kThreads, .shared_bytes = 0, .stream = stream}, in, words);
                 }});
  return out;
}

}  // namespace precis::gpu_test::PRECIS_GPU_NS
