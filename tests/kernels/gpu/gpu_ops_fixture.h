#ifndef PRECIS_TESTS_KERNELS_GPU_GPU_OPS_FIXTURE_H_
#define PRECIS_TESTS_KERNELS_GPU_GPU_OPS_FIXTURE_H_

#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <random>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/gpu/gpu_device.h"
#include "kernels/gpu/gpu_ops.h"

namespace precis::kernels {

inline float RoundToBf16(float v) {
  uint32_t bits;
  std::memcpy(&bits, &v, 4);
  bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000u;
  std::memcpy(&v, &bits, 4);
  return v;
}

// A SIMT device and arrays on it, filled with NaN until they are written. Ends with a look at the device's report.
class GpuOpsTest : public testing::Test {
 protected:
  explicit GpuOpsTest(int compute_major = 9)
      : device_(OpenSimtDevice({.seed = static_cast<uint64_t>(testing::UnitTest::GetInstance()->random_seed()) + 1, .compute_major = compute_major})),
        ops_(device_->ops()) {}
  void TearDown() override { EXPECT_TRUE(device_->Synchronize(Stream{}).ok()) << device_->Synchronize(Stream{}); }

  template <class T>
  T* New(size_t count) {
    auto memory = device_->Allocate(static_cast<int64_t>(count * sizeof(T)));
    EXPECT_TRUE(memory.ok()) << memory.status();
    return static_cast<T*>(*memory);
  }
  template <class T>
  T* Put(const std::vector<T>& host) {
    T* to = New<T>(host.size());
    device_->CopyToDevice(to, host.data(), static_cast<int64_t>(host.size() * sizeof(T)), Stream{});
    return to;
  }
  // Floats as `type` (bf16 values must be rounded already).
  void* PutAs(const std::vector<float>& host, GpuType type) {
    if (type == GpuType::kF32) return Put(host);
    std::vector<uint16_t> half;
    for (float v : host) {
      uint32_t bits;
      std::memcpy(&bits, &v, 4);
      half.push_back(static_cast<uint16_t>(bits >> 16));
    }
    return Put(half);
  }
  std::vector<float> Get(const void* from, size_t count, GpuType type) {
    std::vector<float> host(count);
    if (type == GpuType::kF32) {
      device_->CopyToHost(host.data(), from, static_cast<int64_t>(count * 4), Stream{});
      return host;
    }
    std::vector<uint16_t> half(count);
    device_->CopyToHost(half.data(), from, static_cast<int64_t>(count * 2), Stream{});
    for (size_t i = 0; i < count; ++i) {
      const uint32_t bits = uint32_t{half[i]} << 16;
      std::memcpy(&host[i], &bits, 4);
    }
    return host;
  }
  std::vector<float> Random(size_t count, GpuType type, float spread = 1) {
    std::normal_distribution<float> normal(0, spread);
    std::vector<float> values(count);
    for (float& v : values) v = type == GpuType::kBf16 ? RoundToBf16(normal(random_)) : normal(random_);
    return values;
  }

  std::mt19937_64 random_{20261124};
  std::unique_ptr<GpuDevice> device_;
  const GpuOps& ops_;
};

}  // namespace precis::kernels

#endif  // PRECIS_TESTS_KERNELS_GPU_GPU_OPS_FIXTURE_H_
