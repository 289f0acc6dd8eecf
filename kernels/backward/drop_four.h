#ifndef PRECIS_KERNELS_BACKWARD_DROP_FOUR_H_
#define PRECIS_KERNELS_BACKWARD_DROP_FOUR_H_

#include "kernels/backward/philox.h"
#include "kernels/cuda/element_io.h"

namespace precis::kernels::PRECIS_GPU_NS {

// y = x * scale where the random number reaches the threshold, else 0: the four elements of a Philox block, or the first `count` of them.
template <class X, class Y>
PRECIS_DEVICE void DropFour(const Random4& random, uint32_t threshold, float scale, const X* x, Y* y, int64_t count) {
  if (count >= 4 && FourAligned(x) && FourAligned(y)) {
    float v[4];
    LoadFour(x, v);
    PRECIS_UNROLL
    for (int i = 0; i < 4; ++i) v[i] = random.v[i] >= threshold ? v[i] * scale : 0.0f;
    StoreFour(y, v);
    return;
  }
  PRECIS_UNROLL
  for (int i = 0; i < 4; ++i) {
    if (i < count) StoreElement(y + i, random.v[i] >= threshold ? LoadElement(x + i) * scale : 0.0f);
  }
}

}  // namespace precis::kernels::PRECIS_GPU_NS

#endif  // PRECIS_KERNELS_BACKWARD_DROP_FOUR_H_
