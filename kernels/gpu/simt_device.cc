#include <chrono>
#include <cstdlib>
#include <cstring>
#include <unordered_map>

#include "absl/strings/str_cat.h"
#include "kernels/backward/train_list.h"
#include "kernels/cuda/platform/launch.h"
#include "kernels/cuda/ops_list.h"
#include "kernels/gpu/gpu_device.h"
#include "kernels/gpu/gpu_ops.h"

namespace precis::kernels {
namespace {

constexpr size_t kAlignment = 256;
constexpr int kPoison = 0xff;  // NaN as bf16 and as f32

using Clock = std::chrono::steady_clock;

// Everything runs when it is enqueued; streams are names and events are times.
class SimtDevice : public GpuDevice {
 public:
  explicit SimtDevice(const SimtOptions& options) : limit_(options.memory_bytes) {
    info_.name = "SIMT (kernels run by the host)";
    info_.compute_major = options.compute_major;
    info_.multiprocessors = 1;
    info_.shared_bytes_per_block = 227 << 10;
    info_.total_bytes = options.memory_bytes;
    simt::SetSeed(options.seed);
    simt::KeepReports(true);
  }
  ~SimtDevice() override {
    for (const auto& [memory, bytes] : allocated_) std::free(memory);
  }

  std::string_view kind() const override { return "simt"; }
  const GpuInfo& info() const override { return info_; }
  const GpuOps& ops() const override { return simt::Ops(info_.compute_major); }
  const GpuTrainOps& train_ops() const override { return simt::TrainOps(info_.compute_major); }

  // Exact host allocations, so that a sanitizer sees the first byte past the end.
  absl::StatusOr<void*> Allocate(int64_t bytes) override {
    simt::KeepReports(true);
    void* memory = nullptr;
    if (bytes < 0 || bytes > FreeBytes() || posix_memalign(&memory, kAlignment, bytes > 0 ? static_cast<size_t>(bytes) : 1) != 0) {
      return absl::ResourceExhaustedError(absl::StrCat("SIMT device: ", bytes, " bytes asked for, ", FreeBytes(), " of ", limit_, " are free"));
    }
    std::memset(memory, kPoison, static_cast<size_t>(bytes));
    allocated_[memory] = bytes;
    used_ += bytes;
    return memory;
  }
  void Free(void* memory) override {
    const auto at = allocated_.find(memory);
    if (at == allocated_.end()) return;
    used_ -= at->second;
    allocated_.erase(at);
    std::free(memory);
  }
  int64_t FreeBytes() const override { return limit_ - used_; }
  absl::StatusOr<void*> AllocatePinned(int64_t bytes) override {
    void* memory = nullptr;
    if (bytes < 0 || posix_memalign(&memory, kAlignment, bytes > 0 ? static_cast<size_t>(bytes) : 1) != 0) {
      return absl::ResourceExhaustedError(absl::StrCat("SIMT device: ", bytes, " bytes of host memory cannot be had"));
    }
    return memory;
  }
  void FreePinned(void* memory) override { std::free(memory); }

  absl::StatusOr<Stream> NewStream() override { return Stream{}; }
  void DeleteStream(Stream) override {}
  void CopyToDevice(void* to, const void* from, int64_t bytes, Stream) override { Copy(to, from, bytes); }
  void CopyToHost(void* to, const void* from, int64_t bytes, Stream) override { Copy(to, from, bytes); }
  void CopyOnDevice(void* to, const void* from, int64_t bytes, Stream) override { Copy(to, from, bytes); }
  void Fill(void* to, int byte, int64_t bytes, Stream) override {
    simt::KeepReports(true);
    if (bytes > 0) std::memset(to, byte, static_cast<size_t>(bytes));
  }
  absl::Status Synchronize(Stream) override {
    const std::string report = simt::TakeReport();
    if (!report.empty() && error_.ok()) error_ = absl::InternalError(report);
    return error_;
  }

  absl::StatusOr<Event> NewEvent() override { return Event{new Clock::time_point}; }
  void DeleteEvent(Event event) override { delete static_cast<Clock::time_point*>(event.handle); }
  void Record(Event event, Stream) override { *static_cast<Clock::time_point*>(event.handle) = Clock::now(); }
  void WaitFor(Stream, Event) override {}
  absl::Status Synchronize(Event) override { return Synchronize(Stream{}); }
  double SecondsBetween(Event begin, Event end) override {
    return std::chrono::duration<double>(*static_cast<Clock::time_point*>(end.handle) - *static_cast<Clock::time_point*>(begin.handle)).count();
  }

  bool has_graphs() const override { return false; }
  absl::Status BeginCapture(Stream) override { return absl::UnimplementedError("the SIMT device has no graphs"); }
  absl::StatusOr<std::unique_ptr<GpuGraph>> EndCapture(Stream) override { return absl::UnimplementedError("the SIMT device has no graphs"); }

 private:
  // The emulator keeps its reports by thread; whichever thread feeds the device wants them kept.
  static void Copy(void* to, const void* from, int64_t bytes) {
    simt::KeepReports(true);
    if (bytes > 0) std::memmove(to, from, static_cast<size_t>(bytes));
  }

  GpuInfo info_;
  int64_t limit_;
  int64_t used_ = 0;
  std::unordered_map<void*, int64_t> allocated_;
  absl::Status error_;
};

}  // namespace

std::unique_ptr<GpuDevice> OpenSimtDevice(const SimtOptions& options) { return std::make_unique<SimtDevice>(options); }

}  // namespace precis::kernels
