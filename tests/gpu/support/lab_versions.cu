#include "tests/gpu/support/lab_versions.h"

#include "kernels/lab/lab.h"

namespace precis::gpu_test {
namespace {

namespace lab = kernels::cuda::lab;

template <int kVersion>
void Run(const uint16_t* q, const uint16_t* k, const uint16_t* v, uint16_t* o, int heads, int tokens, cudaStream_t stream) {
  using kernels::Bf16;
  lab::kVersions[kVersion].run({reinterpret_cast<const Bf16*>(q), reinterpret_cast<const Bf16*>(k), reinterpret_cast<const Bf16*>(v),
                                reinterpret_cast<Bf16*>(o), heads, tokens, 1.44269504f / 8},
                               {stream});
}

template <int kVersion>
void Add(std::vector<LabKernel>* out) {
  const lab::LabVersion& version = lab::kVersions[kVersion];
  out->push_back({version.name, version.idea, version.compute_major, Run<kVersion>});
  if constexpr (kVersion + 1 < sizeof(lab::kVersions) / sizeof(lab::kVersions[0])) Add<kVersion + 1>(out);
}

}  // namespace

std::vector<LabKernel> LabKernels() {
  std::vector<LabKernel> out;
  Add<0>(&out);
  return out;
}

}  // namespace precis::gpu_test
