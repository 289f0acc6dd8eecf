#ifndef PRECIS_KERNELS_SIMT_SIMT_PLATFORM_H_
#define PRECIS_KERNELS_SIMT_SIMT_PLATFORM_H_

// platform.h for the host. Include platform.h, not this.

#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "kernels/simt/context.h"

#define PRECIS_GPU_NS simt
#define PRECIS_KERNEL(threads, min_blocks) [[maybe_unused]] static void
#define PRECIS_DEVICE inline
#define PRECIS_HOST_DEVICE inline
#define PRECIS_GRID_CONSTANT
#define PRECIS_UNROLL

#define threadIdx (::precis::kernels::simt::Current().thread)
#define blockIdx (::precis::kernels::simt::Current().block)
#define blockDim (::precis::kernels::simt::Current().block_size)
#define gridDim (::precis::kernels::simt::Current().grid)

namespace precis::kernels::simt {

inline char* DynamicShared() { return Current().shared; }

inline void SyncThreads(Site site = Site::current()) {
  const Index3& size = Current().block_size;
  BarrierSync(0, static_cast<int>(size.x * size.y * size.z), site);
}
inline void NamedBarrierSync(int id, int threads, Site site = Site::current()) { BarrierSync(id, threads, site); }
inline void NamedBarrierArrive(int id, int threads, Site site = Site::current()) { BarrierArrive(id, threads, site); }
void SyncWarp(Site site = Site::current());

uint32_t ShuffleBits(const char* kind, uint32_t bits, int source_lane, Site site);
template <class T>
T ShuffleFrom(const char* kind, T v, int source_lane, Site site) {
  static_assert(sizeof(T) == 4);
  uint32_t bits;
  std::memcpy(&bits, &v, 4);
  bits = ShuffleBits(kind, bits, source_lane, site);
  std::memcpy(&v, &bits, 4);
  return v;
}
template <class T>
T ShuffleXor(T v, int mask, Site site = Site::current()) { return ShuffleFrom("ShuffleXor", v, Current().lane ^ mask, site); }
template <class T>
T ShuffleIdx(T v, int lane, Site site = Site::current()) { return ShuffleFrom("ShuffleIdx", v, lane & 31, site); }
template <class T>
T ShuffleDown(T v, int delta, Site site = Site::current()) {
  const int lane = Current().lane;
  return ShuffleFrom("ShuffleDown", v, lane + delta < 32 ? lane + delta : lane, site);
}
unsigned Ballot(bool b, Site site = Site::current());

// Atomic for the thread sanitizer's sake; fibers are switched only where they wait.
template <class T>
T AtomicAdd(T* p, T v) {
  std::atomic_ref<T> value(*p);
  T before = value.load(std::memory_order_acquire);
  while (!value.compare_exchange_weak(before, before + v, std::memory_order_acq_rel)) {
  }
  return before;
}
inline int AtomicMax(int* p, int v) {
  std::atomic_ref<int> value(*p);
  int before = value.load(std::memory_order_acquire);
  while (before < v && !value.compare_exchange_weak(before, v, std::memory_order_acq_rel)) {
  }
  return before;
}
inline void ThreadFence() {}

inline float ToFloat(Bf16 v) {
  const uint32_t bits = static_cast<uint32_t>(v.bits) << 16;
  float x;
  std::memcpy(&x, &bits, 4);
  return x;
}
inline Bf16 ToBf16(float v) {
  uint32_t bits;
  std::memcpy(&bits, &v, 4);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return {0x7fff};  // NaN, as cvt.rn.bf16 gives it
  return {static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1)) >> 16)};
}
inline uint32_t PackBf16(float lo, float hi) { return ToBf16(lo).bits | static_cast<uint32_t>(ToBf16(hi).bits) << 16; }
inline void UnpackBf16(uint32_t pair, float& lo, float& hi) {
  lo = ToFloat({static_cast<uint16_t>(pair)});
  hi = ToFloat({static_cast<uint16_t>(pair >> 16)});
}

inline float FlushSubnormal(float x) { return std::abs(x) < std::numeric_limits<float>::min() ? std::copysign(0.0f, x) : x; }
inline float Exp2(float x) { return FlushSubnormal(std::exp2(FlushSubnormal(x))); }
inline float Log2(float x) { return std::log2(FlushSubnormal(x)); }
inline float Rsqrt(float x) { return 1.0f / std::sqrt(x); }
inline float Tanh(float x) { return std::tanh(x); }
inline float Fma(float a, float b, float c) { return std::fma(a, b, c); }
inline float FastDivide(float a, float b) { return a / b; }

// The host's vectors carry no alignment check of their own: do it here, as the device would fault.
void CheckAligned(const void* p, Site site);
inline Vec16 Load16(const void* p, Site site = Site::current()) {
  CheckAligned(p, site);
  Vec16 v;
  std::memcpy(&v, p, 16);
  return v;
}
inline Vec16 LoadStream16(const void* p, Site site = Site::current()) { return Load16(p, site); }
inline void Store16(void* p, Vec16 v, Site site = Site::current()) {
  CheckAligned(p, site);
  std::memcpy(p, &v, 16);
}

inline void GridDependencyWait() {}
inline void GridDependencyLaunch() {}

}  // namespace precis::kernels::simt

#endif  // PRECIS_KERNELS_SIMT_SIMT_PLATFORM_H_
