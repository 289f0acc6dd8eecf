#ifndef PRECIS_KERNELS_CUDA_OPS_NORM_ROW_H_
#define PRECIS_KERNELS_CUDA_OPS_NORM_ROW_H_

// The layer norm of one row by one warp, in one order of sums: the row operation and the products that normalise their own input give the same bits.

#include "kernels/cuda/lane_columns.h"

namespace precis::kernels::PRECIS_GPU_NS {

struct NormFactors {
  float mean;
  float factor;  // 1 / sqrt(variance + epsilon)
};

// The sums don't depend on kNormVectors.
template <int kNormVectors>
struct NormValues : LaneColumns<kNormVectors> {
  using LaneColumns<kNormVectors>::v;

  // Mean, then the squares of what is left.
  PRECIS_DEVICE NormFactors Factors(int width, float epsilon, int lane) const {
    float squares = 0;
    const float mean = WarpSum(this->Sum()) / static_cast<float>(width);
    PRECIS_UNROLL
    for (int i = 0; i < kNormVectors; ++i) {
      if (4 * (lane + 32 * i) >= width) continue;
      PRECIS_UNROLL
      for (int e = 0; e < 4; ++e) {
        const float d = v[i][e] - mean;
        squares = Fma(d, d, squares);
      }
    }
    return {mean, Rsqrt(WarpSum(squares) / static_cast<float>(width) + epsilon)};
  }
};

PRECIS_DEVICE float Normalised(float x, const NormFactors& f, float gain, float bias) { return Fma((x - f.mean) * f.factor, gain, bias); }

}  // namespace precis::kernels::PRECIS_GPU_NS

#endif  // PRECIS_KERNELS_CUDA_OPS_NORM_ROW_H_
