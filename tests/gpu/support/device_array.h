#ifndef PRECIS_TESTS_GPU_SUPPORT_DEVICE_ARRAY_H_
#define PRECIS_TESTS_GPU_SUPPORT_DEVICE_ARRAY_H_

#include <cuda_runtime_api.h>

#include <cstdint>
#include <utility>
#include <vector>

namespace precis::gpu_test {

// Ends the program with the call's name on an error: these are command line tools.
void Require(cudaError_t status, const char* what);
#define PRECIS_REQUIRE(call) ::precis::gpu_test::Require((call), #call)

// Device memory of a test.
template <class T>
class DeviceArray {
 public:
  DeviceArray() = default;
  explicit DeviceArray(size_t size) : size_(size) {
    if (size > 0) PRECIS_REQUIRE(cudaMalloc(reinterpret_cast<void**>(&data_), size * sizeof(T)));
  }
  explicit DeviceArray(const std::vector<T>& host) : DeviceArray(host.size()) { Set(host); }
  DeviceArray(DeviceArray&& other) noexcept : data_(other.data_), size_(other.size_) {
    other.data_ = nullptr;
    other.size_ = 0;
  }
  DeviceArray& operator=(DeviceArray&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~DeviceArray() { cudaFree(data_); }

  T* get() const { return data_; }
  size_t size() const { return size_; }
  void Set(const std::vector<T>& host) const {
    if (size_ > 0) PRECIS_REQUIRE(cudaMemcpy(data_, host.data(), size_ * sizeof(T), cudaMemcpyHostToDevice));
  }
  std::vector<T> Get() const {
    std::vector<T> host(size_);
    if (size_ > 0) PRECIS_REQUIRE(cudaMemcpy(host.data(), data_, size_ * sizeof(T), cudaMemcpyDeviceToHost));
    return host;
  }
  // All bytes 0xFF: NaN in every floating type.
  void Poison() const { PRECIS_REQUIRE(cudaMemset(data_, 0xFF, size_ * sizeof(T))); }

 private:
  T* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace precis::gpu_test

#endif  // PRECIS_TESTS_GPU_SUPPORT_DEVICE_ARRAY_H_
