#ifndef PRECIS_SERVER_GPU_MONITOR_H_
#define PRECIS_SERVER_GPU_MONITOR_H_

#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "kernels/gpu/nvml.h"
#include "runtime/base/mutex.h"

namespace precis::server {

// Reads a GPU's counters a few times a second on a thread of its own, so that neither scrapes nor steps wait for the driver. Stops when destroyed.
class GpuMonitor {
 public:
  // `watts` is the mean power since the sample before, by the energy counter where the GPU has one; negative: not known. Called on the monitor's thread.
  using Report = std::function<void(const kernels::NvmlSample& sample, double watts)>;
  static constexpr absl::Duration kInterval = absl::Milliseconds(250);

  GpuMonitor(std::unique_ptr<kernels::Nvml> nvml, Report report, absl::Duration interval = kInterval);
  ~GpuMonitor();

 private:
  void Run();

  const std::unique_ptr<kernels::Nvml> nvml_;
  const Report report_;
  const absl::Duration interval_;
  Mutex mutex_;
  CondVar wake_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace precis::server

#endif  // PRECIS_SERVER_GPU_MONITOR_H_
