#ifndef PRECIS_KERNELS_CUDA_PLATFORM_CUDA_LAUNCH_H_
#define PRECIS_KERNELS_CUDA_PLATFORM_CUDA_LAUNCH_H_

// launch.h for nvcc. Include launch.h, not this.

#include <tuple>
#include <type_traits>

namespace precis::kernels::cuda {

// The first error of a launch since the last call, and clears it; cudaSuccess if none.
cudaError_t TakeLaunchError();
void KeepLaunchError(cudaError_t error);

template <class... P, class... A>
void Launch(void (*kernel)(P...), const LaunchConfig& config, A&&... arguments) {
  std::tuple<std::decay_t<P>...> values(static_cast<std::decay_t<P>>(arguments)...);
  std::apply(
      [&](auto&... value) {
        void* pointers[] = {&value...};
        const void* function = reinterpret_cast<const void*>(kernel);
        cudaError_t error = cudaSuccess;
        if (config.shared_bytes > 48 * 1024) {
          error = cudaFuncSetAttribute(function, cudaFuncAttributeMaxDynamicSharedMemorySize, config.shared_bytes);
        }
        cudaLaunchAttribute attribute = {};
        attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
        attribute.val.programmaticStreamSerializationAllowed = 1;
        cudaLaunchConfig_t launch = {};
        launch.gridDim = dim3(static_cast<unsigned>(config.grid.x), static_cast<unsigned>(config.grid.y), static_cast<unsigned>(config.grid.z));
        launch.blockDim = dim3(static_cast<unsigned>(config.block.x), static_cast<unsigned>(config.block.y), static_cast<unsigned>(config.block.z));
        launch.dynamicSmemBytes = static_cast<size_t>(config.shared_bytes);
        launch.stream = static_cast<cudaStream_t>(config.stream.handle);
        launch.attrs = &attribute;
        launch.numAttrs = config.dependent ? 1 : 0;
        if (error == cudaSuccess) error = cudaLaunchKernelExC(&launch, function, pointers);
        if (error != cudaSuccess) KeepLaunchError(error);
      },
      values);
}

}  // namespace precis::kernels::cuda

#endif  // PRECIS_KERNELS_CUDA_PLATFORM_CUDA_LAUNCH_H_
