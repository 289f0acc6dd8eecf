#ifndef PRECIS_RUNTIME_MODEL_GPU_GRAPHS_H_
#define PRECIS_RUNTIME_MODEL_GPU_GRAPHS_H_

#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "kernels/gpu/gpu_device.h"

namespace precis::runtime {

// Graphs of work that comes again and again in the same shape. The first time it is enqueued as it is (libraries load their kernels then), the second time
// it is recorded, and from then on launched.
class GpuGraphs {
 public:
  explicit GpuGraphs(kernels::GpuDevice* device) : device_(device) {}
  // Enqueues `work`, whose launches must be the same for equal keys.
  absl::Status Run(const std::vector<int>& key, kernels::Stream stream, const std::function<absl::Status()>& work);

 private:
  static constexpr size_t kMost = 256;  // then all are forgotten
  kernels::GpuDevice* const device_;
  std::map<std::vector<int>, std::unique_ptr<kernels::GpuGraph>> graphs_;
};

}  // namespace precis::runtime

#endif  // PRECIS_RUNTIME_MODEL_GPU_GRAPHS_H_
