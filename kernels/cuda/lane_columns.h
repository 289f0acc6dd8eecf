#ifndef PRECIS_KERNELS_CUDA_LANE_COLUMNS_H_
#define PRECIS_KERNELS_CUDA_LANE_COLUMNS_H_

#include "kernels/cuda/block_reduce.h"
#include "kernels/cuda/element_io.h"

namespace precis::kernels::PRECIS_GPU_NS {

// A lane's columns of a row that a warp holds: vector i has columns 4 (lane + 32 i) .. + 3; those past the width are zero. For widths to 128 kVectors, multiples
// of 4, and rows aligned as FourAligned says.
template <int kVectors>
struct LaneColumns {
  float v[kVectors][4];

  template <class T>
  PRECIS_DEVICE void Load(const T* row, int width, int lane) {
    PRECIS_UNROLL
    for (int i = 0; i < kVectors; ++i) {
      const int column = 4 * (lane + 32 * i);
      if (column < width) {
        LoadFour(row + column, v[i]);
      } else {
        v[i][0] = v[i][1] = v[i][2] = v[i][3] = 0;
      }
    }
  }

  PRECIS_DEVICE void Store(float* row, int width, int lane) const {
    PRECIS_UNROLL
    for (int i = 0; i < kVectors; ++i) {
      if (4 * (lane + 32 * i) < width) StoreFour(row + 4 * (lane + 32 * i), v[i]);
    }
  }

  PRECIS_DEVICE float Sum() const {
    float sum = 0;
    PRECIS_UNROLL
    for (int i = 0; i < kVectors; ++i) sum += (v[i][0] + v[i][1]) + (v[i][2] + v[i][3]);
    return sum;
  }
};

}  // namespace precis::kernels::PRECIS_GPU_NS

#endif  // PRECIS_KERNELS_CUDA_LANE_COLUMNS_H_
