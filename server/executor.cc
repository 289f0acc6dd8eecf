#include "server/executor.h"

#include <utility>

namespace precis::server {

Executor::Executor(int threads) {
  for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { Run(); });
}

Executor::~Executor() {
  {
    absl::MutexLock lock(&mutex_);
    stop_ = true;
  }
  for (std::thread& thread : threads_) thread.join();
}

void Executor::Post(std::function<void()> function) {
  absl::MutexLock lock(&mutex_);
  queue_.push_back(std::move(function));
}

int Executor::pending() const {
  absl::MutexLock lock(&mutex_);
  return static_cast<int>(queue_.size());
}

void Executor::Run() {
  const auto work = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return !queue_.empty() || stop_; };
  while (true) {
    std::function<void()> function;
    {
      absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(&work));
      if (queue_.empty()) return;
      function = std::move(queue_.front());
      queue_.pop_front();
    }
    function();
  }
}

}  // namespace precis::server
