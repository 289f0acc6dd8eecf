#ifndef PRECIS_KERNELS_CUDA_PLATFORM_CUDA_PTX_H_
#define PRECIS_KERNELS_CUDA_PLATFORM_CUDA_PTX_H_

// ptx.h for nvcc. Include ptx.h, not this.

#include <cstdint>

namespace precis::kernels::cuda {

PRECIS_DEVICE uint32_t SharedAddress(const void* p) { return static_cast<uint32_t>(__cvta_generic_to_shared(p)); }

PRECIS_DEVICE void LdMatrixX4(uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(SharedAddress(row))
               : "memory");
}
PRECIS_DEVICE void LdMatrixX4Trans(uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(SharedAddress(row))
               : "memory");
}
PRECIS_DEVICE void LdMatrixX2(uint32_t (&r)[2], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];" : "=r"(r[0]), "=r"(r[1]) : "r"(SharedAddress(row)) : "memory");
}
PRECIS_DEVICE void LdMatrixX2Trans(uint32_t (&r)[2], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];" : "=r"(r[0]), "=r"(r[1]) : "r"(SharedAddress(row)) : "memory");
}

PRECIS_DEVICE void MmaBf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
PRECIS_DEVICE void MmaS8(int32_t (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
               : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

PRECIS_DEVICE void CpAsync16(void* shared, const void* global, bool valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(SharedAddress(shared)), "l"(global), "r"(valid ? 16 : 0) : "memory");
}
PRECIS_DEVICE void CpAsyncCommit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int N>
PRECIS_DEVICE void CpAsyncWait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900

PRECIS_DEVICE void MbarrierInit(Mbarrier* bar, int count) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(SharedAddress(bar)), "r"(count) : "memory");
}
PRECIS_DEVICE void MbarrierFenceInit() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }
PRECIS_DEVICE void MbarrierInvalidate(Mbarrier* bar) { asm volatile("mbarrier.inval.shared::cta.b64 [%0];" ::"r"(SharedAddress(bar)) : "memory"); }
PRECIS_DEVICE void MbarrierArrive(Mbarrier* bar) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(SharedAddress(bar)) : "memory");
}
PRECIS_DEVICE void MbarrierArriveExpectTx(Mbarrier* bar, uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(SharedAddress(bar)), "r"(bytes) : "memory");
}
PRECIS_DEVICE void MbarrierWait(Mbarrier* bar, int parity) {
  asm volatile(
      "{\n.reg .pred done;\nWAIT:\nmbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n@done bra DONE;\nbra WAIT;\nDONE:\n}\n" ::"r"(
          SharedAddress(bar)),
      "r"(parity)
      : "memory");
}

PRECIS_DEVICE void PrefetchTensorMap(const TensorMap* map) { asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory"); }
PRECIS_DEVICE void TmaLoad2d(void* shared, const TensorMap* map, Mbarrier* bar, int c0, int c1) {
  asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4}], [%2];" ::"r"(SharedAddress(shared)),
               "l"(map), "r"(SharedAddress(bar)), "r"(c0), "r"(c1)
               : "memory");
}
PRECIS_DEVICE void TmaLoad3d(void* shared, const TensorMap* map, Mbarrier* bar, int c0, int c1, int c2) {
  asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5}], [%2];" ::"r"(
                   SharedAddress(shared)),
               "l"(map), "r"(SharedAddress(bar)), "r"(c0), "r"(c1), "r"(c2)
               : "memory");
}
PRECIS_DEVICE void TmaLoad5d(void* shared, const TensorMap* map, Mbarrier* bar, int c0, int c1, int c2, int c3, int c4) {
  asm volatile("cp.async.bulk.tensor.5d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5, %6, %7}], [%2];" ::"r"(
                   SharedAddress(shared)),
               "l"(map), "r"(SharedAddress(bar)), "r"(c0), "r"(c1), "r"(c2), "r"(c3), "r"(c4)
               : "memory");
}

PRECIS_DEVICE void TmaLoad4d(void* shared, const TensorMap* map, Mbarrier* bar, int c0, int c1, int c2, int c3) {
  asm volatile("cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5, %6}], [%2];" ::"r"(
                   SharedAddress(shared)),
               "l"(map), "r"(SharedAddress(bar)), "r"(c0), "r"(c1), "r"(c2), "r"(c3)
               : "memory");
}
PRECIS_DEVICE void TmaStore2d(const TensorMap* map, const void* shared, int c0, int c1) {
  asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%0, {%2, %3}], [%1];" ::"l"(map), "r"(SharedAddress(shared)), "r"(c0), "r"(c1)
               : "memory");
}
PRECIS_DEVICE void TmaStore3d(const TensorMap* map, const void* shared, int c0, int c1, int c2) {
  asm volatile("cp.async.bulk.tensor.3d.global.shared::cta.bulk_group [%0, {%2, %3, %4}], [%1];" ::"l"(map), "r"(SharedAddress(shared)), "r"(c0), "r"(c1),
               "r"(c2)
               : "memory");
}
PRECIS_DEVICE void TmaStore4d(const TensorMap* map, const void* shared, int c0, int c1, int c2, int c3) {
  asm volatile("cp.async.bulk.tensor.4d.global.shared::cta.bulk_group [%0, {%2, %3, %4, %5}], [%1];" ::"l"(map), "r"(SharedAddress(shared)), "r"(c0), "r"(c1),
               "r"(c2), "r"(c3)
               : "memory");
}
PRECIS_DEVICE void TmaStoreCommit() { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }
template <int N>
PRECIS_DEVICE void TmaStoreWait() {
  asm volatile("cp.async.bulk.wait_group %0;" ::"n"(N) : "memory");
}

PRECIS_DEVICE void FenceProxyAsync() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

PRECIS_DEVICE bool ElectOne() {
  uint32_t elected;
  asm volatile("{\n.reg .pred p;\nelect.sync _|p, 0xffffffff;\nselp.b32 %0, 1, 0, p;\n}\n" : "=r"(elected));
  return elected != 0;
}
template <int N>
PRECIS_DEVICE void SetMaxRegistersIncrease() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(N));
}
template <int N>
PRECIS_DEVICE void SetMaxRegistersDecrease() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(N));
}

#endif

}  // namespace precis::kernels::cuda

#endif  // PRECIS_KERNELS_CUDA_PLATFORM_CUDA_PTX_H_
