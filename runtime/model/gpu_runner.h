#ifndef PRECIS_RUNTIME_MODEL_GPU_RUNNER_H_
#define PRECIS_RUNTIME_MODEL_GPU_RUNNER_H_

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "kernels/gpu/gpu_device.h"
#include "kernels/thread_pool.h"
#include "runtime/model/catalog.h"
#include "runtime/model/model_runner.h"

namespace precis::runtime {

// The device of LoadOptions::device: null for cpu; for auto, CUDA device 0 where it opens, else null with the reason in *why_cpu.
// An error where the device that was named can't be opened.
absl::StatusOr<std::shared_ptr<kernels::GpuDevice>> OpenDevice(std::string_view name, std::string* why_cpu);

// Loads a checkpoint as LoadCpuRunner does and copies its weights to the device, which the runners of one engine share. The host's copy is given back.
absl::StatusOr<std::unique_ptr<ModelRunner>> LoadGpuRunner(const std::string& directory, const LoadOptions& options, int context_limit,
                                                           const std::shared_ptr<kernels::ThreadPool>& pool,
                                                           std::shared_ptr<kernels::GpuDevice> device);

}  // namespace precis::runtime

#endif  // PRECIS_RUNTIME_MODEL_GPU_RUNNER_H_
