#include "kernels/gpu/nvml.h"

#include <dlfcn.h>

#include "absl/strings/str_cat.h"

namespace precis::kernels {
namespace {

// From nvml.h: the library's interface is stable, and it comes with the driver.
using Device = void*;
struct Memory {
  unsigned long long total, free, used;
};
struct Utilisation {
  unsigned int gpu, memory;
};

struct Library {
  int (*Init)();
  int (*Shutdown)();
  const char* (*ErrorString)(int);
  int (*HandleByUuid)(const char*, Device*);
  int (*MemoryInfo)(Device, Memory*);
  int (*PowerUsage)(Device, unsigned int* milliwatts);
  int (*TotalEnergy)(Device, unsigned long long* millijoules);
  int (*UtilisationRates)(Device, Utilisation*);
};

template <class F>
bool Find(void* so, const char* name, F& function) {
  function = reinterpret_cast<F>(dlsym(so, name));
  return function != nullptr;
}

bool Resolve(void* so, Library& lib) {
  return Find(so, "nvmlInit_v2", lib.Init) && Find(so, "nvmlShutdown", lib.Shutdown) && Find(so, "nvmlErrorString", lib.ErrorString) &&
         Find(so, "nvmlDeviceGetHandleByUUID", lib.HandleByUuid) && Find(so, "nvmlDeviceGetMemoryInfo", lib.MemoryInfo) &&
         Find(so, "nvmlDeviceGetPowerUsage", lib.PowerUsage) && Find(so, "nvmlDeviceGetTotalEnergyConsumption", lib.TotalEnergy) &&
         Find(so, "nvmlDeviceGetUtilizationRates", lib.UtilisationRates);
}

class DriverNvml : public Nvml {
 public:
  DriverNvml(void* so, const Library& lib) : so_(so), lib_(lib) {}
  ~DriverNvml() override {
    if (started_) lib_.Shutdown();
    dlclose(so_);
  }

  absl::Status Start(const std::string& uuid) {
    int result = lib_.Init();
    if (result != 0) return absl::UnavailableError(absl::StrCat("NVML does not start: ", lib_.ErrorString(result)));
    started_ = true;
    result = lib_.HandleByUuid(uuid.c_str(), &device_);
    if (result == 0) return absl::OkStatus();
    return absl::NotFoundError(absl::StrCat("NVML knows no GPU '", uuid, "': ", lib_.ErrorString(result)));
  }

  absl::StatusOr<NvmlSample> Read() const override {
    Memory memory = {};
    const int result = lib_.MemoryInfo(device_, &memory);
    if (result != 0) return absl::UnavailableError(absl::StrCat("NVML does not tell the memory in use: ", lib_.ErrorString(result)));
    NvmlSample sample;
    sample.memory_used_bytes = static_cast<int64_t>(memory.used);
    sample.memory_total_bytes = static_cast<int64_t>(memory.total);
    unsigned int milliwatts = 0;
    unsigned long long millijoules = 0;
    Utilisation rates = {};
    if (lib_.PowerUsage(device_, &milliwatts) == 0) sample.power_watts = milliwatts / 1e3;
    if (lib_.TotalEnergy(device_, &millijoules) == 0) sample.energy_joules = static_cast<double>(millijoules) / 1e3;
    if (lib_.UtilisationRates(device_, &rates) == 0) {
      sample.gpu_utilisation = rates.gpu / 100.0;
      sample.memory_utilisation = rates.memory / 100.0;
    }
    return sample;
  }

 private:
  void* so_;
  Library lib_;
  Device device_ = nullptr;
  bool started_ = false;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Nvml>> Nvml::Open(const std::string& uuid) {
  void* so = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
  if (so == nullptr) return absl::UnavailableError("libnvidia-ml.so.1 is not on this machine: no NVIDIA driver");
  Library lib = {};
  if (!Resolve(so, lib)) {
    dlclose(so);
    return absl::UnavailableError("libnvidia-ml.so.1 lacks functions that are needed: the driver is too old");
  }
  auto nvml = std::make_unique<DriverNvml>(so, lib);
  if (const absl::Status status = nvml->Start(uuid); !status.ok()) return status;
  return std::unique_ptr<Nvml>(std::move(nvml));
}

}  // namespace precis::kernels
