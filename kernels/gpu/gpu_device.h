#ifndef PRECIS_KERNELS_GPU_GPU_DEVICE_H_
#define PRECIS_KERNELS_GPU_GPU_DEVICE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/gpu/stream.h"

namespace precis::kernels {

struct GpuOps;
struct GpuTrainOps;

struct GpuInfo {
  std::string name;
  std::string uuid;  // as NVML and nvidia-smi print it; empty on the SIMT device
  int compute_major = 0;
  int compute_minor = 0;
  int multiprocessors = 0;
  int64_t shared_bytes_per_block = 0;  // the most that a kernel may ask for
  int64_t total_bytes = 0;
  int driver_version = 0;   // 13000 for 13.0
  int runtime_version = 0;
};

// Work recorded once and launched many times.
class GpuGraph {
 public:
  virtual ~GpuGraph() = default;
  virtual void Launch(Stream stream) = 0;
};

// One GPU, or the SIMT device: the same kernels run by the host (kernels/simt). Calls that take a stream only enqueue; an error of anything enqueued
// comes out of the next Synchronize and stays: a device that failed once is of no more use. Thread-compatible: one thread at a time.
class GpuDevice {
 public:
  virtual ~GpuDevice() = default;
  virtual std::string_view kind() const = 0;  // "cuda", "simt"
  virtual const GpuInfo& info() const = 0;
  virtual const GpuOps& ops() const = 0;
  virtual const GpuTrainOps& train_ops() const = 0;

  // Device memory, 256-byte aligned, not cleared (the SIMT device fills it with NaN). RESOURCE_EXHAUSTED says what was asked and what is free.
  virtual absl::StatusOr<void*> Allocate(int64_t bytes) = 0;
  virtual void Free(void* memory) = 0;
  virtual int64_t FreeBytes() const = 0;
  // Host memory that the device copies from and to without staging.
  virtual absl::StatusOr<void*> AllocatePinned(int64_t bytes) = 0;
  virtual void FreePinned(void* memory) = 0;

  virtual absl::StatusOr<Stream> NewStream() = 0;
  virtual void DeleteStream(Stream stream) = 0;
  virtual void CopyToDevice(void* to, const void* from, int64_t bytes, Stream stream) = 0;
  virtual void CopyToHost(void* to, const void* from, int64_t bytes, Stream stream) = 0;
  virtual void CopyOnDevice(void* to, const void* from, int64_t bytes, Stream stream) = 0;
  virtual void Fill(void* to, int byte, int64_t bytes, Stream stream) = 0;
  // Waits for the stream; the first error since the device was opened.
  virtual absl::Status Synchronize(Stream stream) = 0;

  virtual absl::StatusOr<Event> NewEvent() = 0;
  virtual void DeleteEvent(Event event) = 0;
  virtual void Record(Event event, Stream stream) = 0;
  virtual void WaitFor(Stream stream, Event event) = 0;
  virtual absl::Status Synchronize(Event event) = 0;
  // Both must have been passed.
  virtual double SecondsBetween(Event begin, Event end) = 0;

  // Between the two, work of `stream` is recorded, not run; nothing may be allocated or synchronised. The SIMT device has no graphs.
  virtual bool has_graphs() const = 0;
  virtual absl::Status BeginCapture(Stream stream) = 0;
  virtual absl::StatusOr<std::unique_ptr<GpuGraph>> EndCapture(Stream stream) = 0;
};

// UNAVAILABLE where this build or this machine has no CUDA (no driver library, no device), FAILED_PRECONDITION where the driver is older than the runtime
// or the device older than compute capability 8.0; the message says which, and what to do.
absl::StatusOr<std::unique_ptr<GpuDevice>> OpenCudaDevice(int ordinal);
// Whether this binary holds the CUDA kernels.
bool BuiltWithCuda();

struct SimtOptions {
  uint64_t seed = 1;               // of the order in which fibers and blocks run
  int compute_major = 9;           // 8: the engines of sm_80; 9: those of sm_90a
  int64_t memory_bytes = int64_t{1} << 30;
};
std::unique_ptr<GpuDevice> OpenSimtDevice(const SimtOptions& options);

}  // namespace precis::kernels

#endif  // PRECIS_KERNELS_GPU_GPU_DEVICE_H_
