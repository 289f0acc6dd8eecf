#ifndef PRECIS_KERNELS_GPU_CUDA_OPS_H_
#define PRECIS_KERNELS_GPU_CUDA_OPS_H_

// What the host's compiler needs of the library that nvcc compiles (kernels/cuda/ops_list.h, platform/cuda_launch.h).

#include <cuda_runtime_api.h>

#include "kernels/gpu/gpu_ops.h"
#include "kernels/gpu/train_ops.h"

namespace precis::kernels::cuda {

const GpuOps& Ops(int compute_major);
const GpuTrainOps& TrainOps(int compute_major);
cudaError_t TakeLaunchError();
void KeepLaunchError(cudaError_t error);

}  // namespace precis::kernels::cuda

#endif  // PRECIS_KERNELS_GPU_CUDA_OPS_H_
