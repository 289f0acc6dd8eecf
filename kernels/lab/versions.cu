#include "kernels/lab/lab.h"

namespace precis::kernels::PRECIS_GPU_NS {
namespace {

int64_t NoWorkspace(int, int) { return 0; }

constexpr LabVersion kVersions[] = {
    {"1 naive", "three kernels; every score goes to memory and back", NaiveAttention, NaiveWorkspaceBytes, false},
    {"2 tiled", "one kernel; keys and values through shared memory, online softmax, no score in memory", TiledAttention, NoWorkspace, false},
    {"3 mma", "matrix units; scores and probabilities stay in registers as fragments", MmaAttention, NoWorkspace, false},
    {"4 async", "copies of the next tile run under the products of this one; two row tiles share each fragment", AsyncAttention, NoWorkspace, false},
};

}  // namespace

const LabVersion* LabVersions(int* count) {
  *count = sizeof(kVersions) / sizeof(kVersions[0]);
  return kVersions;
}

}  // namespace precis::kernels::PRECIS_GPU_NS
