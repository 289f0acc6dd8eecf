#ifndef PRECIS_KERNELS_CPU_TRAIN_TRAIN_PRODUCT_H_
#define PRECIS_KERNELS_CPU_TRAIN_TRAIN_PRODUCT_H_

#include <cstdint>
#include <vector>

#include "kernels/cpu/dispatch.h"
#include "kernels/cpu/train/train_table.h"
#include "kernels/thread_pool.h"
#include "kernels/train_device.h"

namespace precis::kernels {

// The kernels of training compiled for `isa`; the machine must support it.
inline const TrainKernels& TrainKernelsFor(CpuIsa isa) {
#if defined(__x86_64__)
  if (isa == CpuIsa::kAvx512) return avx512::TrainingKernels();
  if (isa == CpuIsa::kAvx2) return avx2::TrainingKernels();
#endif
  return portable::TrainingKernels();
}

// Memory that grows and is kept.
class Scratch {
 public:
  ~Scratch();
  float* Floats(int64_t count);
  int64_t bytes() const { return bytes_; }

 private:
  void* data_ = nullptr;
  int64_t bytes_ = 0;
};

// ProductArgs on the micro-kernels of PackedMatrix: both operands are packed per call (they change at every step), in blocks that stay in the cache. An element
// of C is a chain over k in order, cut only every kDepthBlock where C accumulates; bits don't depend on the threads.
class TrainProduct {
 public:
  TrainProduct(CpuIsa isa, ThreadPool* pool);
  void Run(const ProductArgs& args);
  int64_t bytes() const;

 private:
  static constexpr int kRowsAtOnce = 4 * kGemmRows;
  static constexpr int64_t kDepthBlock = 1024;

  void RunDepth(const ProductArgs& args, int64_t begin, int64_t depth);
  void PackB(const ProductArgs& args, int64_t begin, int64_t depth);
  void PackA(const ProductArgs& args, int64_t begin, int64_t depth, int64_t row, int rows);
  void Multiply(const ProductArgs& args, int64_t depth, int64_t row, int rows);

  const GemmKernels& gemm_;
  const TrainKernels& train_;
  ThreadPool* const pool_;
  int group_rows_;
  Scratch a_, b_;
  std::vector<Scratch> c_;  // by worker: results that are still to be rounded to bf16
};

}  // namespace precis::kernels

#endif  // PRECIS_KERNELS_CPU_TRAIN_TRAIN_PRODUCT_H_
