#ifndef PRECIS_KERNELS_CUDA_PLATFORM_PTX_H_
#define PRECIS_KERNELS_CUDA_PLATFORM_PTX_H_

// Instructions that CUDA C++ has no name for, one function each, in both worlds. Fragment layouts: PTX ISA, "Matrix fragments for mma.m16n8k16", "Register
// fragments and shared memory matrix layouts" of wgmma.
//
//   LdMatrixX4 / X2 (Trans)     row: this lane's 16-byte row in shared memory
//   MmaBf16                     m16n8k16, row.col, f32: d += a b;  MmaS8: m16n8k32, int32
//   CpAsync16, CpAsyncCommit, CpAsyncWait<N>          valid = false fills with zeros
//   Mbarrier...                 phases as in PTX; MbarrierWait returns when the phase of that parity is complete
//   TmaLoad2d..5d               box of a tensor map to shared memory; its bytes complete on the barrier. What lies outside the tensor is 0. The first coordinate
//                               is a multiple of 16 bytes: Hopper stops with "illegal instruction" else
//   TmaStore2d..4d, TmaStoreCommit, TmaStoreWait<N>   the other way; complete, and shared memory free again, after the wait. No coordinate is negative (else as
//                               above); what lies past the tensor's end is not stored
//   FenceProxyAsync             before the asynchronous proxy reads what ordinary stores wrote
//   SharedDescriptor, WgmmaFence, WgmmaSS, WgmmaRS, WgmmaCommit, WgmmaWait<N>      m64nNk16, bf16, f32 accumulators; N = 64, 128, SS alone 16, 32
//   ReduceAdd2                  adds two floats to memory, 8-byte aligned, without reading them first (sm_90)
//   SetMaxRegistersIncrease / Decrease<N>, ElectOne

#include "kernels/cuda/platform/platform.h"
#include "kernels/cuda/platform/ptx_types.h"

#ifdef PRECIS_SIMT
#include "kernels/simt/simt_ptx.h"
#else
#include "kernels/cuda/platform/cuda_ptx.h"
#include "kernels/cuda/platform/cuda_wgmma.h"
#include "kernels/cuda/platform/cuda_wgmma_sizes.h"
#endif

#endif  // PRECIS_KERNELS_CUDA_PLATFORM_PTX_H_
