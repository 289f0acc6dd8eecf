#ifndef PRECIS_KERNELS_SIMT_WGMMA_QUEUE_H_
#define PRECIS_KERNELS_SIMT_WGMMA_QUEUE_H_

#include <cstdint>
#include <deque>
#include <map>
#include <vector>

namespace precis::kernels::simt {

// One wgmma as one thread issued it.
struct WgmmaOp {
  float* d;
  int n;
  bool transpose_b;
  bool a_in_registers;
  uint32_t a[4];
  uint64_t descriptor_a, descriptor_b;
  bool accumulate;
};

// A thread's asynchronous products. From issue to wait the accumulators hold NaN; their true values are kept here.
struct WgmmaQueue {
  struct Shadow {
    std::vector<float> values;
    int pending = 0;
  };
  bool fenced = false;
  std::vector<WgmmaOp> open;
  std::deque<std::vector<WgmmaOp>> groups;
  std::map<float*, Shadow> shadows;

  void Clear() { *this = WgmmaQueue(); }
};

}  // namespace precis::kernels::simt

#endif  // PRECIS_KERNELS_SIMT_WGMMA_QUEUE_H_
