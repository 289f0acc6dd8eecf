#ifndef PRECIS_TESTS_GPU_SUPPORT_LAB_VERSIONS_H_
#define PRECIS_TESTS_GPU_SUPPORT_LAB_VERSIONS_H_

#include <cuda_runtime_api.h>

#include <cstdint>
#include <string>
#include <vector>

namespace precis::gpu_test {

// A version of the kernel laboratory (kernels/lab) on the device: causal, [heads][tokens][64] bf16, tokens a multiple of 128.
struct LabKernel {
  std::string name, idea;
  int compute_major;
  void (*run)(const uint16_t* q, const uint16_t* k, const uint16_t* v, uint16_t* o, int heads, int tokens, cudaStream_t stream);
};
std::vector<LabKernel> LabKernels();

}  // namespace precis::gpu_test

#endif  // PRECIS_TESTS_GPU_SUPPORT_LAB_VERSIONS_H_
