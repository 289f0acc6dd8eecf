#ifndef PRECIS_KERNELS_CUDA_ATTENTION_SM90_TENSOR_MAPS_H_
#define PRECIS_KERNELS_CUDA_ATTENTION_SM90_TENSOR_MAPS_H_

#include <cstdint>

#include "kernels/cuda/platform/ptx.h"
#include "kernels/gpu/gpu_ops.h"

namespace precis::kernels::PRECIS_GPU_NS::sm90 {

// Host: the two maps of FlashParams. False where the driver refuses one (an address or a stride that is not a multiple of 16 bytes).
bool EncodeQueryMap(const GpuAttentionArgs& args, TensorMap* map);
bool EncodeCacheMap(const GpuKvLayer& cache, TensorMap* map);

}  // namespace precis::kernels::PRECIS_GPU_NS::sm90

#endif  // PRECIS_KERNELS_CUDA_ATTENTION_SM90_TENSOR_MAPS_H_
