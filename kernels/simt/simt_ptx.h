#ifndef PRECIS_KERNELS_SIMT_SIMT_PTX_H_
#define PRECIS_KERNELS_SIMT_SIMT_PTX_H_

// ptx.h for the host. Include ptx.h, not this.

#include <cstdint>

#include "kernels/cuda/platform/ptx_types.h"
#include "kernels/simt/context.h"

namespace precis::kernels::simt {

void LdMatrixX4(uint32_t (&r)[4], const void* row, Site site = Site::current());
void LdMatrixX4Trans(uint32_t (&r)[4], const void* row, Site site = Site::current());
void LdMatrixX2(uint32_t (&r)[2], const void* row, Site site = Site::current());
void LdMatrixX2Trans(uint32_t (&r)[2], const void* row, Site site = Site::current());
void MmaBf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], Site site = Site::current());
void MmaS8(int32_t (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], Site site = Site::current());

void CpAsync16(void* shared, const void* global, bool valid, Site site = Site::current());
void CpAsyncCommit();
void CpAsyncWaitGroups(int pending);
template <int N>
void CpAsyncWait() { CpAsyncWaitGroups(N); }

void MbarrierInit(Mbarrier* bar, int count, Site site = Site::current());
inline void MbarrierFenceInit() {}
void MbarrierInvalidate(Mbarrier* bar, Site site = Site::current());
void MbarrierArrive(Mbarrier* bar, Site site = Site::current());
void MbarrierArriveExpectTx(Mbarrier* bar, uint32_t bytes, Site site = Site::current());
void MbarrierWait(Mbarrier* bar, int parity, Site site = Site::current());

inline void PrefetchTensorMap(const TensorMap*) {}
void TmaLoad(void* shared, const TensorMap* map, Mbarrier* bar, int rank, const int (&coordinates)[5], Site site);
inline void TmaLoad2d(void* shared, const TensorMap* map, Mbarrier* bar, int c0, int c1, Site site = Site::current()) {
  TmaLoad(shared, map, bar, 2, {c0, c1, 0, 0, 0}, site);
}
inline void TmaLoad3d(void* shared, const TensorMap* map, Mbarrier* bar, int c0, int c1, int c2, Site site = Site::current()) {
  TmaLoad(shared, map, bar, 3, {c0, c1, c2, 0, 0}, site);
}
inline void TmaLoad5d(void* shared, const TensorMap* map, Mbarrier* bar, int c0, int c1, int c2, int c3, int c4, Site site = Site::current()) {
  TmaLoad(shared, map, bar, 5, {c0, c1, c2, c3, c4}, site);
}
inline void TmaLoad4d(void* shared, const TensorMap* map, Mbarrier* bar, int c0, int c1, int c2, int c3, Site site = Site::current()) {
  TmaLoad(shared, map, bar, 4, {c0, c1, c2, c3, 0}, site);
}
void TmaStore(const TensorMap* map, const void* shared, int rank, const int (&coordinates)[5], Site site);
inline void TmaStore2d(const TensorMap* map, const void* shared, int c0, int c1, Site site = Site::current()) {
  TmaStore(map, shared, 2, {c0, c1, 0, 0, 0}, site);
}
inline void TmaStore3d(const TensorMap* map, const void* shared, int c0, int c1, int c2, Site site = Site::current()) {
  TmaStore(map, shared, 3, {c0, c1, c2, 0, 0}, site);
}
inline void TmaStore4d(const TensorMap* map, const void* shared, int c0, int c1, int c2, int c3, Site site = Site::current()) {
  TmaStore(map, shared, 4, {c0, c1, c2, c3, 0}, site);
}
void TmaStoreCommit();
void TmaStoreWaitGroups(int pending);
template <int N>
void TmaStoreWait() { TmaStoreWaitGroups(N); }
void FenceProxyAsync();
bool ElectOne(Site site = Site::current());
inline void ReduceAdd2(float* to, float first, float second) {
  to[0] += first;
  to[1] += second;
}

template <int N>
void SetMaxRegistersIncrease() {}
template <int N>
void SetMaxRegistersDecrease() {}

uint64_t SharedDescriptor(const void* shared, int leading_bytes, int stride_bytes, Swizzle swizzle, Site site = Site::current());
void WgmmaFence();
void WgmmaIssue(float* d, int n, bool transpose_b, const uint32_t* registers_a, uint64_t descriptor_a, uint64_t descriptor_b, bool accumulate, Site site);
void WgmmaCommit();
void WgmmaWaitGroups(int pending, Site site);
template <int N>
void WgmmaWait(Site site = Site::current()) { WgmmaWaitGroups(N, site); }
template <int N, bool kTransposeB = false>
void WgmmaSS(float (&d)[N / 2], uint64_t descriptor_a, uint64_t descriptor_b, bool accumulate, Site site = Site::current()) {
  WgmmaIssue(d, N, kTransposeB, nullptr, descriptor_a, descriptor_b, accumulate, site);
}
template <int N, bool kTransposeB = false>
void WgmmaRS(float (&d)[N / 2], const uint32_t (&a)[4], uint64_t descriptor_b, bool accumulate, Site site = Site::current()) {
  WgmmaIssue(d, N, kTransposeB, a, 0, descriptor_b, accumulate, site);
}
template <bool kTransposeB = false>
void WgmmaFirstRS(float (&d)[32], const uint32_t (&a)[4], uint64_t descriptor_b, Site site = Site::current()) {
  WgmmaIssue(d, 64, kTransposeB, a, 0, descriptor_b, false, site);
}

}  // namespace precis::kernels::simt

#endif  // PRECIS_KERNELS_SIMT_SIMT_PTX_H_
