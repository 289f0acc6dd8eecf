#include "server/gpu_monitor.h"

#include <optional>
#include <utility>

#include "absl/time/clock.h"

namespace precis::server {
namespace {

struct Reading {
  absl::Time time;
  kernels::NvmlSample sample;
};

// The counter advances in steps of some 20 to 100 ms, so its mean over an interval says more than the power of one moment.
double MeanWatts(const std::optional<Reading>& before, const Reading& now) {
  if (before.has_value() && before->sample.energy_joules.has_value() && now.sample.energy_joules.has_value()) {
    const double seconds = absl::ToDoubleSeconds(now.time - before->time);
    const double joules = *now.sample.energy_joules - *before->sample.energy_joules;
    if (seconds > 0 && joules > 0) return joules / seconds;
  }
  return now.sample.power_watts.value_or(-1);
}

}  // namespace

GpuMonitor::GpuMonitor(std::unique_ptr<kernels::Nvml> nvml, Report report, absl::Duration interval)
    : nvml_(std::move(nvml)), report_(std::move(report)), interval_(interval), thread_([this] { Run(); }) {}

GpuMonitor::~GpuMonitor() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
  }
  wake_.SignalAll();
  thread_.join();
}

void GpuMonitor::Run() {
  std::optional<Reading> before;
  for (;;) {
    // A reading that fails (the driver is being replaced) is left out; the gauges keep their last values.
    if (absl::StatusOr<kernels::NvmlSample> sample = nvml_->Read(); sample.ok()) {
      const Reading now = {absl::Now(), *sample};
      report_(now.sample, MeanWatts(before, now));
      before = now;
    }
    MutexLock lock(&mutex_);
    const absl::Time next = absl::Now() + interval_;
    while (!stopping_ && absl::Now() < next) wake_.WaitFor(&mutex_, next - absl::Now());
    if (stopping_) return;
  }
}

}  // namespace precis::server
