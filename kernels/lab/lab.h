#ifndef PRECIS_KERNELS_LAB_LAB_H_
#define PRECIS_KERNELS_LAB_LAB_H_

// The kernel laboratory: causal attention of one sequence, head size 64, bf16, in numbered versions, each with one idea more than the last. README.md walks
// through them. The server uses none of them: kernels/cuda holds what they lead to.

#include "kernels/cuda/platform/launch.h"
#include "kernels/cuda/platform/platform.h"
#include "kernels/gpu/stream.h"

namespace precis::kernels::PRECIS_GPU_NS::lab {

inline constexpr int kHeadDim = 64;

// q, k, v, o: [heads][tokens][64]. tokens is a multiple of 128.
struct LabArgs {
  const Bf16* q;
  const Bf16* k;
  const Bf16* v;
  Bf16* o;
  int heads;
  int tokens;
  float scale;  // of the scores, to the logarithm to base 2: log2(e) / 8
};

struct LabVersion {
  const char* name;
  const char* idea;
  int compute_major;  // of the GPU it needs
  void (*run)(const LabArgs&, Stream);
};

void RunNaive(const LabArgs& args, Stream stream);
void RunTiled(const LabArgs& args, Stream stream);
void RunTensorCores(const LabArgs& args, Stream stream);
void RunPipelined(const LabArgs& args, Stream stream);
void RunWarpgroup(const LabArgs& args, Stream stream);
void RunSpecialised(const LabArgs& args, Stream stream);

inline constexpr LabVersion kVersions[] = {
    {"1 naive", "a thread a row, online softmax", 8, RunNaive},
    {"2 tiled", "keys and values through shared memory", 8, RunTiled},
    {"3 tensor cores", "mma.m16n8k16 for both products", 8, RunTensorCores},
    {"4 pipelined", "cp.async, two stages, swizzled", 8, RunPipelined},
    {"5 warpgroup", "TMA and wgmma", 9, RunWarpgroup},
    {"6 specialised", "a loading warp, two computing warpgroups", 9, RunSpecialised},
};

}  // namespace precis::kernels::PRECIS_GPU_NS::lab

#endif  // PRECIS_KERNELS_LAB_LAB_H_
