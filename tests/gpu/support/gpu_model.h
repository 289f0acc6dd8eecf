#ifndef PRECIS_TESTS_GPU_SUPPORT_GPU_MODEL_H_
#define PRECIS_TESTS_GPU_SUPPORT_GPU_MODEL_H_

#include <cuda_runtime_api.h>

#include <cstdint>
#include <vector>

#include "kernels/gpu/cuda_ops.h"
#include "kernels/gpu/gpu_ops.h"
#include "kernels/gpu/train_ops.h"
#include "tests/gpu/support/device_array.h"

namespace precis::gpu_test {

std::vector<uint16_t> RandomBf16(size_t size, uint64_t seed, float spread);
std::vector<float> RandomF32(size_t size, uint64_t seed, float spread);
const kernels::GpuOps& CudaOps();  // of device 0
const kernels::GpuTrainOps& CudaTrainOps(int compute_major = 0);  // 0: of device 0

// A model of GPT-2 124M's shape with random weights, and the memory of a decode step of `sequences` sequences with `context` tokens each.
class DecodeModel {
 public:
  DecodeModel(int sequences, int context, kernels::GemmMode mode);
  enum Part : unsigned { kProducts = 1, kWriteKv = 2, kAttention = 4, kHead = 8, kAll = 15 };
  // Everything from the tokens to the next tokens, on the stream; or only some parts, to see what each costs.
  void Step(cudaStream_t stream, unsigned parts = kAll) const;
  double WeightBytes() const { return weight_bytes_; }
  double CacheBytes() const;

 private:
  struct Layer {
    DeviceArray<float> gain1, bias1, gain2, bias2, qkv_bias, projection_bias, up_bias, down_bias;
    DeviceArray<uint16_t> qkv, projection, up, down;
  };
  void Product(const DeviceArray<uint16_t>& x, const DeviceArray<uint16_t>& w, const DeviceArray<float>* bias, void* y, int n, int k, kernels::GpuType y_type,
               kernels::GpuActivation activation, bool accumulate, cudaStream_t stream) const;
  void Norm(const DeviceArray<float>& gain, const DeviceArray<float>& bias, cudaStream_t stream) const;
  kernels::GpuKvLayer Cache(int layer) const;

  int sequences_, context_;
  kernels::GemmMode mode_;
  double weight_bytes_ = 0;
  std::vector<Layer> layers_;
  DeviceArray<uint16_t> table_, positions_table_, normed_, qkv_out_, attention_out_, up_out_;
  DeviceArray<float> gain_, bias_, x_, logits_;
  DeviceArray<int32_t> tokens_, positions_, query_begin_, query_count_, context_length_, block_table_;
  DeviceArray<int64_t> slots_;
  DeviceArray<uint32_t> counters_;
  DeviceArray<char> arena_, workspace_;
};

}  // namespace precis::gpu_test

#endif  // PRECIS_TESTS_GPU_SUPPORT_GPU_MODEL_H_
