#ifndef PRECIS_TESTS_KERNELS_TRAIN_TRAIN_OPS_FIXTURE_H_
#define PRECIS_TESTS_KERNELS_TRAIN_TRAIN_OPS_FIXTURE_H_

// For tests of each operation's gradient against central differences of the operation's definition in f64, which the test writes out. L = sum of c * f(inputs), c random:
// then dL/dinputs is what the backward operation gives for the output gradient c.

#include <algorithm>
#include <cmath>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/train_device.h"

namespace precis::kernels {

using Doubles = std::vector<double>;
using Floats = std::vector<float>;

inline Floats Random(size_t count, uint32_t seed, float scale = 1) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, scale);
  Floats values(count);
  for (float& x : values) x = normal(random);
  return values;
}

// dL/dx of L = sum c * f(x), by central differences.
inline Doubles Differences(const std::function<Doubles(const Doubles&)>& f, const Floats& at, const Floats& c) {
  const Doubles x(at.begin(), at.end());
  const auto loss = [&](const Doubles& values) {
    const Doubles y = f(values);
    EXPECT_EQ(y.size(), c.size());
    double sum = 0;
    for (size_t i = 0; i < y.size(); ++i) sum += c[i] * y[i];
    return sum;
  };
  Doubles gradient(x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    const double step = 1e-5 * std::max(1.0, std::abs(x[i]));
    Doubles more = x, less = x;
    more[i] += step, less[i] -= step;
    gradient[i] = (loss(more) - loss(less)) / (2 * step);
  }
  return gradient;
}

inline void ExpectNear(const Floats& got, const Doubles& want, double tolerance, const std::string& what) {
  ASSERT_EQ(got.size(), want.size()) << what;
  double largest = 1e-30;
  for (double x : want) largest = std::max(largest, std::abs(x));
  for (size_t i = 0; i < got.size(); ++i) ASSERT_NEAR(got[i], want[i], tolerance * largest) << what << " " << i;
}

struct DeviceKind {
  std::string name;
  CpuIsa isa = CpuIsa::kPortable;
  bool simt = false;
};

inline std::vector<DeviceKind> Kinds() {
  std::vector<DeviceKind> kinds;
  for (CpuIsa isa : SupportedCpuIsas()) kinds.push_back({std::string(CpuIsaName(isa)), isa, false});
  kinds.push_back({"simt", CpuIsa::kPortable, true});
  return kinds;
}

class TrainOpsTest : public testing::TestWithParam<DeviceKind> {
 protected:
  TrainOpsTest() {
    if (GetParam().simt) {
      device_ = *OpenGpuTrainDevice(OpenSimtDevice({.memory_bytes = int64_t{1} << 28}));
    } else {
      device_ = OpenCpuTrainDevice(GetParam().isa, 3);
    }
  }

  template <class Number>
  Number* Put(const std::vector<Number>& values) {
    void* memory = *device_->Allocate(static_cast<int64_t>(values.size() * sizeof(Number)));
    device_->Upload(memory, values.data(), static_cast<int64_t>(values.size() * sizeof(Number)));
    return static_cast<Number*>(memory);
  }
  float* Zeros(size_t count) { return Put(Floats(count, 0.0f)); }
  Floats Get(const float* memory, size_t count) {
    Floats values(count);
    const absl::Status status = device_->Download(values.data(), memory, static_cast<int64_t>(count * 4));
    EXPECT_TRUE(status.ok()) << status;
    return values;
  }

  std::unique_ptr<TrainDevice> device_;
};

}  // namespace precis::kernels

#endif  // PRECIS_TESTS_KERNELS_TRAIN_TRAIN_OPS_FIXTURE_H_
