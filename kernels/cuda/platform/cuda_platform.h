#ifndef PRECIS_KERNELS_CUDA_PLATFORM_CUDA_PLATFORM_H_
#define PRECIS_KERNELS_CUDA_PLATFORM_CUDA_PLATFORM_H_

// platform.h for nvcc. Include platform.h, not this.

#include <cuda_runtime.h>

#include <cstdint>

#define PRECIS_GPU_NS cuda
#define PRECIS_KERNEL(threads, min_blocks) static __global__ void __launch_bounds__(threads, min_blocks)
#define PRECIS_DEVICE __device__ __forceinline__
#define PRECIS_HOST_DEVICE __host__ __device__ __forceinline__
#define PRECIS_GRID_CONSTANT __grid_constant__
#define PRECIS_UNROLL _Pragma("unroll")

namespace precis::kernels::cuda {

PRECIS_DEVICE char* DynamicShared() {
  extern __shared__ __align__(1024) char precis_dynamic_shared[];
  return precis_dynamic_shared;
}

PRECIS_DEVICE void SyncThreads() { __syncthreads(); }
PRECIS_DEVICE void SyncWarp() { __syncwarp(); }
PRECIS_DEVICE void NamedBarrierSync(int id, int threads) { asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory"); }
PRECIS_DEVICE void NamedBarrierArrive(int id, int threads) { asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory"); }

inline constexpr unsigned kWholeWarp = 0xffffffffu;
template <class T>
PRECIS_DEVICE T ShuffleXor(T v, int mask) { return __shfl_xor_sync(kWholeWarp, v, mask); }
template <class T>
PRECIS_DEVICE T ShuffleIdx(T v, int lane) { return __shfl_sync(kWholeWarp, v, lane); }
template <class T>
PRECIS_DEVICE T ShuffleDown(T v, int delta) { return __shfl_down_sync(kWholeWarp, v, delta); }
PRECIS_DEVICE unsigned Ballot(bool b) { return __ballot_sync(kWholeWarp, b); }

template <class T>
PRECIS_DEVICE T AtomicAdd(T* p, T v) { return atomicAdd(p, v); }
PRECIS_DEVICE int AtomicMax(int* p, int v) { return atomicMax(p, v); }
PRECIS_DEVICE void ThreadFence() { __threadfence(); }

PRECIS_DEVICE float ToFloat(Bf16 v) { return __uint_as_float(static_cast<uint32_t>(v.bits) << 16); }
PRECIS_DEVICE uint32_t PackBf16(float lo, float hi) {
  uint32_t r;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(hi), "f"(lo));
  return r;
}
PRECIS_DEVICE Bf16 ToBf16(float v) {
  Bf16 r;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(r.bits) : "f"(v));
  return r;
}
PRECIS_DEVICE void UnpackBf16(uint32_t pair, float& lo, float& hi) {
  lo = __uint_as_float(pair << 16);
  hi = __uint_as_float(pair & 0xffff0000u);
}

PRECIS_DEVICE float Exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
PRECIS_DEVICE float Log2(float x) {
  float y;
  asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
PRECIS_DEVICE float Rsqrt(float x) { return rsqrtf(x); }
PRECIS_DEVICE float Tanh(float x) { return tanhf(x); }
PRECIS_DEVICE float Fma(float a, float b, float c) { return __fmaf_rn(a, b, c); }
PRECIS_DEVICE float FastDivide(float a, float b) { return __fdividef(a, b); }

PRECIS_DEVICE Vec16 Load16(const void* p) {
  const uint4 v = *static_cast<const uint4*>(p);
  return {{v.x, v.y, v.z, v.w}};
}
PRECIS_DEVICE Vec16 LoadStream16(const void* p) {
  Vec16 v;
  asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.w[0]), "=r"(v.w[1]), "=r"(v.w[2]), "=r"(v.w[3])
               : "l"(p));
  return v;
}
PRECIS_DEVICE void Store16(void* p, Vec16 v) { *static_cast<uint4*>(p) = make_uint4(v.w[0], v.w[1], v.w[2], v.w[3]); }

PRECIS_DEVICE void GridDependencyWait() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
PRECIS_DEVICE void GridDependencyLaunch() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

}  // namespace precis::kernels::cuda

#endif  // PRECIS_KERNELS_CUDA_PLATFORM_CUDA_PLATFORM_H_
