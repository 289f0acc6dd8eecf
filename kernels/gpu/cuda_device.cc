#include <cuda_runtime_api.h>

#include <cstdio>
#include <mutex>
#include <unordered_map>

#include "absl/strings/str_cat.h"
#include "kernels/gpu/cuda_ops.h"
#include "kernels/gpu/gpu_device.h"
#include "kernels/gpu/gpu_ops.h"

namespace precis::kernels {
namespace {

constexpr int64_t kReserveBytes = int64_t{64} << 20;  // left to the driver and to libraries

cudaStream_t Native(Stream stream) { return static_cast<cudaStream_t>(stream.handle); }
cudaEvent_t Native(Event event) { return static_cast<cudaEvent_t>(event.handle); }

class CudaGraph : public GpuGraph {
 public:
  explicit CudaGraph(cudaGraphExec_t graph) : graph_(graph) {}
  ~CudaGraph() override { cudaGraphExecDestroy(graph_); }
  void Launch(Stream stream) override {
    const cudaError_t error = cudaGraphLaunch(graph_, Native(stream));
    if (error != cudaSuccess) cuda::KeepLaunchError(error);
  }

 private:
  cudaGraphExec_t graph_;
};

// Memory comes from a stream-ordered pool of its own that keeps what it is given back, so that allocation costs no driver call once it is warm. What is handed
// out is counted here: the budget is what was free when the device was opened.
class CudaDevice : public GpuDevice {
 public:
  CudaDevice(int ordinal, GpuInfo info, cudaMemPool_t pool, cudaStream_t stream, int64_t budget)
      : ordinal_(ordinal), info_(std::move(info)), pool_(pool), pool_stream_(stream), budget_(budget) {}
  ~CudaDevice() override {
    cudaSetDevice(ordinal_);
    cudaDeviceSynchronize();
    for (const auto& [memory, bytes] : allocated_) cudaFreeAsync(memory, pool_stream_);
    cudaStreamSynchronize(pool_stream_);
    cudaStreamDestroy(pool_stream_);
    cudaMemPoolDestroy(pool_);
  }

  std::string_view kind() const override { return "cuda"; }
  const GpuInfo& info() const override { return info_; }
  const GpuOps& ops() const override { return cuda::Ops(info_.compute_major); }
  const GpuTrainOps& train_ops() const override { return cuda::TrainOps(info_.compute_major); }

  absl::StatusOr<void*> Allocate(int64_t bytes) override {
    Enter();
    if (bytes < 0 || bytes > FreeBytes()) return Exhausted(bytes, "");
    void* memory = nullptr;
    // Waiting makes the memory good for every stream.
    cudaError_t error = cudaMallocFromPoolAsync(&memory, static_cast<size_t>(bytes > 0 ? bytes : 1), pool_, pool_stream_);
    if (error == cudaSuccess) error = cudaStreamSynchronize(pool_stream_);
    if (error != cudaSuccess) {
      cudaGetLastError();
      return Exhausted(bytes, cudaGetErrorString(error));
    }
    allocated_[memory] = bytes;
    used_ += bytes;
    return memory;
  }
  void Free(void* memory) override {
    const auto at = allocated_.find(memory);
    if (at == allocated_.end()) return;
    Enter();
    Keep(cudaDeviceSynchronize());  // whatever stream still reads it
    Keep(cudaFreeAsync(memory, pool_stream_));
    used_ -= at->second;
    allocated_.erase(at);
  }
  int64_t FreeBytes() const override { return budget_ - used_; }

  absl::StatusOr<void*> AllocatePinned(int64_t bytes) override {
    Enter();
    void* memory = nullptr;
    const cudaError_t error = cudaMallocHost(&memory, static_cast<size_t>(bytes > 0 ? bytes : 1));
    if (error == cudaSuccess) return memory;
    cudaGetLastError();
    return absl::ResourceExhaustedError(absl::StrCat("CUDA: ", bytes, " bytes of pinned host memory cannot be had: ", cudaGetErrorString(error)));
  }
  void FreePinned(void* memory) override { Keep(cudaFreeHost(memory)); }

  absl::StatusOr<Stream> NewStream() override {
    Enter();
    cudaStream_t stream = nullptr;
    const cudaError_t error = cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
    if (error != cudaSuccess) return Failure("a stream cannot be made", error);
    return Stream{stream};
  }
  void DeleteStream(Stream stream) override { Keep(cudaStreamDestroy(Native(stream))); }
  void CopyToDevice(void* to, const void* from, int64_t bytes, Stream stream) override { Copy(to, from, bytes, cudaMemcpyHostToDevice, stream); }
  void CopyToHost(void* to, const void* from, int64_t bytes, Stream stream) override { Copy(to, from, bytes, cudaMemcpyDeviceToHost, stream); }
  void CopyOnDevice(void* to, const void* from, int64_t bytes, Stream stream) override { Copy(to, from, bytes, cudaMemcpyDeviceToDevice, stream); }
  void Fill(void* to, int byte, int64_t bytes, Stream stream) override {
    Enter();
    if (bytes > 0) Keep(cudaMemsetAsync(to, byte, static_cast<size_t>(bytes), Native(stream)));
  }
  absl::Status Synchronize(Stream stream) override {
    Enter();
    Keep(cudaStreamSynchronize(Native(stream)));
    return Status();
  }

  absl::StatusOr<Event> NewEvent() override {
    Enter();
    cudaEvent_t event = nullptr;
    const cudaError_t error = cudaEventCreate(&event);
    if (error != cudaSuccess) return Failure("an event cannot be made", error);
    return Event{event};
  }
  void DeleteEvent(Event event) override { Keep(cudaEventDestroy(Native(event))); }
  void Record(Event event, Stream stream) override { Keep(cudaEventRecord(Native(event), Native(stream))); }
  void WaitFor(Stream stream, Event event) override { Keep(cudaStreamWaitEvent(Native(stream), Native(event), 0)); }
  absl::Status Synchronize(Event event) override {
    Enter();
    Keep(cudaEventSynchronize(Native(event)));
    return Status();
  }
  double SecondsBetween(Event begin, Event end) override {
    float milliseconds = 0;
    Keep(cudaEventElapsedTime(&milliseconds, Native(begin), Native(end)));
    return milliseconds * 1e-3;
  }

  bool has_graphs() const override { return true; }
  absl::Status BeginCapture(Stream stream) override {
    Enter();
    const cudaError_t error = cudaStreamBeginCapture(Native(stream), cudaStreamCaptureModeThreadLocal);
    return error == cudaSuccess ? absl::OkStatus() : Failure("a graph cannot be recorded", error);
  }
  absl::StatusOr<std::unique_ptr<GpuGraph>> EndCapture(Stream stream) override {
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t executable = nullptr;
    cudaError_t error = cudaStreamEndCapture(Native(stream), &graph);
    if (error == cudaSuccess) error = cudaGraphInstantiate(&executable, graph, 0);
    if (graph != nullptr) cudaGraphDestroy(graph);
    if (error == cudaSuccess) error = cuda::TakeLaunchError();
    if (error != cudaSuccess) {
      if (executable != nullptr) cudaGraphExecDestroy(executable);
      return Failure("a graph cannot be recorded", error);
    }
    return std::unique_ptr<GpuGraph>(std::make_unique<CudaGraph>(executable));
  }

 private:
  // The device of the calling thread: threads are not bound to one.
  void Enter() const { cudaSetDevice(ordinal_); }
  void Copy(void* to, const void* from, int64_t bytes, cudaMemcpyKind kind, Stream stream) {
    Enter();
    if (bytes > 0) Keep(cudaMemcpyAsync(to, from, static_cast<size_t>(bytes), kind, Native(stream)));
  }
  void Keep(cudaError_t error) {
    if (error != cudaSuccess) cuda::KeepLaunchError(error);
  }
  absl::Status Status() {
    const cudaError_t error = cuda::TakeLaunchError();
    if (error != cudaSuccess && error_.ok()) error_ = Failure("the device failed", error);
    return error_;
  }
  static absl::Status Failure(std::string_view what, cudaError_t error) {
    cudaGetLastError();
    return absl::InternalError(absl::StrCat("CUDA: ", std::string(what), ": ", cudaGetErrorName(error), ", ", cudaGetErrorString(error)));
  }
  absl::Status Exhausted(int64_t bytes, const char* reason) const {
    return absl::ResourceExhaustedError(
        absl::StrCat("CUDA device ", ordinal_, ": ", bytes, " bytes asked for, ", FreeBytes(), " of ", budget_, " are free", *reason != 0 ? ": " : "", reason));
  }

  int ordinal_;
  GpuInfo info_;
  cudaMemPool_t pool_;
  cudaStream_t pool_stream_;
  int64_t budget_;
  int64_t used_ = 0;
  std::unordered_map<void*, int64_t> allocated_;
  absl::Status error_;
};

std::string UuidText(const cudaUUID_t& uuid) {
  std::string text = "GPU-";
  for (int i = 0; i < 16; ++i) {
    char hex[4];
    std::snprintf(hex, sizeof(hex), "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", static_cast<unsigned char>(uuid.bytes[i]));
    text += hex;
  }
  return text;
}

GpuInfo Describe(const cudaDeviceProp& properties, int driver, int runtime) {
  GpuInfo info;
  info.name = properties.name;
  info.uuid = UuidText(properties.uuid);
  info.compute_major = properties.major;
  info.compute_minor = properties.minor;
  info.multiprocessors = properties.multiProcessorCount;
  info.shared_bytes_per_block = static_cast<int64_t>(properties.sharedMemPerBlockOptin);
  info.total_bytes = static_cast<int64_t>(properties.totalGlobalMem);
  info.driver_version = driver;
  info.runtime_version = runtime;
  return info;
}

std::string Version(int version) { return absl::StrCat(version / 1000, ".", version % 1000 / 10); }

// Whether there is a driver that this runtime can use, and a device `ordinal`.
absl::Status CheckDriver(int ordinal, int driver, int runtime) {
  if (driver == 0) return absl::UnavailableError("no NVIDIA driver on this machine (libcuda.so.1 is missing); install one, or choose --device=cpu");
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  cudaGetLastError();
  if (error == cudaErrorInsufficientDriver) {
    return absl::FailedPreconditionError(absl::StrCat("the NVIDIA driver supports CUDA ", Version(driver), " and this binary needs ", Version(runtime),
                                                      "; update the driver, or choose --device=cpu"));
  }
  if (error != cudaSuccess || count == 0) {
    return absl::UnavailableError(absl::StrCat("no CUDA device: ", cudaGetErrorString(error == cudaSuccess ? cudaErrorNoDevice : error),
                                               "; check nvidia-smi and CUDA_VISIBLE_DEVICES, or choose --device=cpu"));
  }
  if (ordinal < 0 || ordinal >= count) {
    return absl::UnavailableError(absl::StrCat("CUDA device ", ordinal, " does not exist: devices 0 to ", count - 1, " are there"));
  }
  return absl::OkStatus();
}

absl::Status Refused(int ordinal, cudaError_t error) {
  cudaGetLastError();
  return absl::UnavailableError(absl::StrCat("CUDA device ", ordinal, " cannot be used: ", cudaGetErrorName(error), ", ", cudaGetErrorString(error)));
}

absl::StatusOr<std::unique_ptr<GpuDevice>> Open(int ordinal, const GpuInfo& info) {
  size_t free = 0, total = 0;
  cudaMemPool_t pool = nullptr;
  cudaStream_t stream = nullptr;
  cudaMemPoolProps properties = {};
  properties.allocType = cudaMemAllocationTypePinned;
  properties.location = {.type = cudaMemLocationTypeDevice, .id = ordinal};
  uint64_t keep = UINT64_MAX;
  cudaError_t error = cudaSetDevice(ordinal);
  if (error == cudaSuccess) error = cudaMemGetInfo(&free, &total);
  if (error == cudaSuccess) error = cudaMemPoolCreate(&pool, &properties);
  if (error == cudaSuccess) error = cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &keep);
  if (error == cudaSuccess) error = cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
  if (error == cudaSuccess) {
    const int64_t budget = static_cast<int64_t>(free) - kReserveBytes;
    return std::unique_ptr<GpuDevice>(std::make_unique<CudaDevice>(ordinal, info, pool, stream, budget > 0 ? budget : 0));
  }
  if (pool != nullptr) cudaMemPoolDestroy(pool);
  return Refused(ordinal, error);
}

}  // namespace

absl::StatusOr<std::unique_ptr<GpuDevice>> OpenCudaDevice(int ordinal) {
  int driver = 0, runtime = 0;
  cudaDriverGetVersion(&driver);
  cudaRuntimeGetVersion(&runtime);
  if (const absl::Status status = CheckDriver(ordinal, driver, runtime); !status.ok()) return status;
  cudaDeviceProp properties;
  if (const cudaError_t error = cudaGetDeviceProperties(&properties, ordinal); error != cudaSuccess) return Refused(ordinal, error);
  if (properties.major < 8) {
    return absl::FailedPreconditionError(absl::StrCat("CUDA device ", ordinal, " (", properties.name, ") has compute capability ", properties.major, ".",
                                                      properties.minor, "; 8.0 or later is needed; choose --device=cpu"));
  }
  return Open(ordinal, Describe(properties, driver, runtime));
}

bool BuiltWithCuda() { return true; }

}  // namespace precis::kernels
