#ifndef PRECIS_KERNELS_CUDA_OPS_NORM_ROW_H_
#define PRECIS_KERNELS_CUDA_OPS_NORM_ROW_H_

// The layer norm of one row by one warp, in one order of sums: the row operation and the products that normalise their own input give the same bits.

#include "kernels/cuda/block_reduce.h"
#include "kernels/cuda/element_io.h"

namespace precis::kernels::PRECIS_GPU_NS {

struct NormFactors {
  float mean;
  float factor;  // 1 / sqrt(variance + epsilon)
};

// Lane's values: vector v holds columns 4 (lane + 32 v) .. + 3; those past the width are zero. For widths to 128 kNormVectors, multiples of 4; the sums don't
// depend on kNormVectors.
template <int kNormVectors>
struct NormValues {
  float v[kNormVectors][4];

  PRECIS_DEVICE void Load(const float* x, int width, int lane) {
    PRECIS_UNROLL
    for (int i = 0; i < kNormVectors; ++i) {
      const int column = 4 * (lane + 32 * i);
      if (column < width) {
        LoadVector(x + column, v[i]);
      } else {
        v[i][0] = v[i][1] = v[i][2] = v[i][3] = 0;
      }
    }
  }

  // Mean, then the squares of what is left.
  PRECIS_DEVICE NormFactors Factors(int width, float epsilon, int lane) const {
    float sum = 0, squares = 0;
    PRECIS_UNROLL
    for (int i = 0; i < kNormVectors; ++i) {
      if (4 * (lane + 32 * i) < width) sum += (v[i][0] + v[i][1]) + (v[i][2] + v[i][3]);
    }
    const float mean = WarpSum(sum) / static_cast<float>(width);
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
