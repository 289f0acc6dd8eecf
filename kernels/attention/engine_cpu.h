#ifndef PRECIS_KERNELS_ATTENTION_ENGINE_CPU_H_
#define PRECIS_KERNELS_ATTENTION_ENGINE_CPU_H_

#include "kernels/attention/cpu/materialised.h"
#include "kernels/attention/cpu/tiled.h"

// The two attention engines, for one head and a block of rows. Included by isa_*.cc after vector_math.h.
//
//   s(i, j) = Score(q_i . k_j scale log2 e),  o_i = sum_j 2^(s(i, j) - m_i) v_j / sum_j 2^(s(i, j) - m_i)
//
// A score is one chain of multiply-adds over the head's dimensions; an output element is one chain over the keys in order. Neither
// depends on how many rows or pages a micro-kernel takes at a time. Tiles stand at absolute positions. So the bits of a row are the same
// in prefill, in a chunk and in decode.
namespace precis::kernels::PRECIS_ISA {

template <class Variant>
AttentionKernels MakeAttentionKernels() {
  using Score = typename Variant::Score;
  AttentionKernels kernels;
  if constexpr (Variant::kAlgorithm == Algorithm::kTiled) {
    kernels.tiled = Tiled<Score>;
  } else {
    kernels.scores = Scores;
    kernels.softmax = MaterialisedSoftmax<Score>;
    kernels.values = Values;
  }
  return kernels;
}

}  // namespace precis::kernels::PRECIS_ISA

#endif  // PRECIS_KERNELS_ATTENTION_ENGINE_CPU_H_
