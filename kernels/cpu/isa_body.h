// The kernels of one instruction set. Included once by each isa_*.cc, after simd_<isa>.h and with PRECIS_ISA set.
#ifndef PRECIS_KERNELS_CPU_ISA_BODY_H_
#define PRECIS_KERNELS_CPU_ISA_BODY_H_

#include <type_traits>

#include "kernels/attention/variants.h"
#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/vector_math.h"
// After vector_math.h.
#include "kernels/attention/engine_cpu.h"
#include "kernels/cpu/gemm_weights.h"
// After gemm_weights.h.
#if PRECIS_HAS_DOT
#include "kernels/cpu/gemm_dot_weights.h"
#else
#include "kernels/cpu/gemm_int8_weights.h"
#endif
#include "kernels/cpu/gemm_kernels.h"
#include "kernels/cpu/row_kernels.h"
// After row_kernels.h.
#include "kernels/cpu/train/train_body.h"

namespace precis::kernels::PRECIS_ISA {

template <class... Variants>
void FillAttention(CpuKernels& kernels, variants::List<Variants...>) {
  static_assert(sizeof...(Variants) <= kMaxVariants);
  AttentionKernels* next = kernels.attention;
  ((*next++ = MakeAttentionKernels<Variants>()), ...);
}

inline CpuKernels MakeKernels() {
  CpuKernels kernels;
  FillAttention(kernels, variants::All());
  kernels.gemm[0] = MakeGemmKernels<F32Weights>();
#if PRECIS_HAS_DOT
  kernels.gemm[1] = MakeGemmKernels<Bf16DotWeights>();
  kernels.gemm[2] = MakeGemmKernels<Int8DotWeights>();
#else
  kernels.gemm[1] = MakeGemmKernels<Bf16Weights>();
  kernels.gemm[2] = MakeGemmKernels<Int8Weights>();
#endif
  kernels.layer_norm = LayerNormRow;
  kernels.arg_max = ArgMaxRow;
  return kernels;
}

const CpuKernels& Kernels() {
  static const CpuKernels kernels = MakeKernels();
  return kernels;
}

}  // namespace precis::kernels::PRECIS_ISA

#endif  // PRECIS_KERNELS_CPU_ISA_BODY_H_
