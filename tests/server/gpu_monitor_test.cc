#include "server/gpu_monitor.h"

#include <gtest/gtest.h>

#include <memory>
#include <utility>
#include <vector>

#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"

namespace precis::server {
namespace {

// A GPU that draws 200 W by its counter and says 90 W of the moment; every third reading fails.
class FakeNvml : public kernels::Nvml {
 public:
  explicit FakeNvml(bool counter) : counter_(counter) {}
  absl::StatusOr<kernels::NvmlSample> Read() const override {
    if (++reads_ % 3 == 0) return absl::UnavailableError("the driver is away");
    kernels::NvmlSample sample;
    sample.power_watts = 90;
    if (counter_) sample.energy_joules = 1e6 + 200 * absl::ToDoubleSeconds(absl::Now() - start_);
    return sample;
  }

 private:
  const bool counter_;
  const absl::Time start_ = absl::Now();
  mutable int reads_ = 0;
};

std::vector<double> FirstWatts(bool counter, size_t count) {
  std::vector<double> watts;
  absl::Notification done;
  GpuMonitor monitor(
      std::make_unique<FakeNvml>(counter),
      [&](const kernels::NvmlSample&, double value) {
        if (watts.size() < count) watts.push_back(value);
        if (watts.size() == count && !done.HasBeenNotified()) done.Notify();
      },
      absl::Milliseconds(20));
  done.WaitForNotification();
  return watts;
}

TEST(GpuMonitorTest, PowerIsTheMeanByTheEnergyCounter) {
  const std::vector<double> watts = FirstWatts(/*counter=*/true, 4);
  EXPECT_EQ(watts[0], 90) << "nothing to compare with yet";
  for (size_t i = 1; i < watts.size(); ++i) EXPECT_NEAR(watts[i], 200, 20) << i;
}

TEST(GpuMonitorTest, WithoutACounterItIsThePowerOfTheMoment) {
  for (double watts : FirstWatts(/*counter=*/false, 3)) EXPECT_EQ(watts, 90);
}

TEST(GpuMonitorTest, EndsWithoutWaitingForTheInterval) {
  const absl::Time start = absl::Now();
  { GpuMonitor monitor(std::make_unique<FakeNvml>(true), [](const kernels::NvmlSample&, double) {}, absl::Hours(1)); }
  EXPECT_LT(absl::Now() - start, absl::Minutes(1));
}

}  // namespace
}  // namespace precis::server
