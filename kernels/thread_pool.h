#ifndef PRECIS_KERNELS_THREAD_POOL_H_
#define PRECIS_KERNELS_THREAD_POOL_H_

#include <cstdint>
#include <memory>

#include "absl/functional/function_ref.h"

namespace precis::kernels {

// A fixed set of threads for data-parallel loops. Not for blocking work. ParallelFor is called from
// one thread at a time (the engine thread), which takes part in the work.
class ThreadPool {
 public:
  // `threads` >= 1, the caller included; 1 starts no thread.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const;

  // Calls body(i, worker) once for each i in [0, count), in any order, worker in [0, threads()). Returns when all are done.
  // Results must not depend on which worker runs what.
  void ParallelFor(int64_t count, absl::FunctionRef<void(int64_t index, int worker)> body);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace precis::kernels

#endif  // PRECIS_KERNELS_THREAD_POOL_H_
