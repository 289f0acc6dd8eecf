/* A management library with one GPU whose numbers are known: built as libnvidia-ml.so.1 for nvml_test. */
#include <string.h>

struct Memory {
  unsigned long long total, free, used;
};
struct Utilisation {
  unsigned int gpu, memory;
};

static int gpu;

int nvmlInit_v2(void) { return 0; }
int nvmlShutdown(void) { return 0; }
const char* nvmlErrorString(int code) { return code == 6 ? "Not Found" : "Unknown Error"; }
int nvmlDeviceGetHandleByUUID(const char* uuid, void** device) {
  *device = &gpu;
  return strcmp(uuid, "GPU-fake") == 0 ? 0 : 6;
}
int nvmlDeviceGetMemoryInfo(void* device, struct Memory* memory) {
  memory->total = 1000, memory->free = 600, memory->used = 400;
  return device == &gpu ? 0 : 2;
}
int nvmlDeviceGetPowerUsage(void* device, unsigned int* milliwatts) {
  *milliwatts = 123500;
  return device == &gpu ? 0 : 2;
}
/* Older GPUs have no counter. */
int nvmlDeviceGetTotalEnergyConsumption(void* device, unsigned long long* millijoules) {
  (void)device, (void)millijoules;
  return 3;
}
int nvmlDeviceGetUtilizationRates(void* device, struct Utilisation* rates) {
  rates->gpu = 42, rates->memory = 7;
  return device == &gpu ? 0 : 2;
}
