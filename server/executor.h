#ifndef PRECIS_SERVER_EXECUTOR_H_
#define PRECIS_SERVER_EXECUTOR_H_

#include <deque>
#include <functional>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace precis::server {

// Runs functions on a few threads of its own, in order of arrival. Thread-safe.
class Executor {
 public:
  explicit Executor(int threads);
  // Runs what is queued first.
  ~Executor();
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  void Post(std::function<void()> function);
  // Functions that wait.
  int pending() const;

 private:
  void Run();

  mutable absl::Mutex mutex_;
  std::deque<std::function<void()>> queue_ ABSL_GUARDED_BY(mutex_);
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace precis::server

#endif  // PRECIS_SERVER_EXECUTOR_H_
