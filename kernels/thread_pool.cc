#include "kernels/thread_pool.h"

#include <atomic>
#include <thread>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace precis::kernels {
namespace {

// Between two products of a model step a few microseconds pass; a sleeping thread takes tens to wake. So workers watch for this
// many pauses (some 50 to 100 us) before they sleep.
constexpr int kSpins = 4000;

void Pause() {
#if defined(__x86_64__)
  _mm_pause();
#else
  std::this_thread::yield();
#endif
}

}  // namespace

// A job is open from the moment it is published until the caller has found no index left. Workers enter only an open job, and the caller
// leaves only when all who entered have left; so a worker that wakes late costs nothing and touches nothing.
class ThreadPool::Impl {
 public:
  explicit Impl(int threads) {
    for (int i = 1; i < threads; ++i) {
      threads_.emplace_back([this, i] { Work(i); });
    }
  }

  ~Impl() {
    stop_.store(true, std::memory_order_relaxed);
    epoch_.fetch_add(1, std::memory_order_seq_cst);
    epoch_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

  int threads() const { return static_cast<int>(threads_.size()) + 1; }

  void Run(int64_t count, absl::FunctionRef<void(int64_t, int)> body) {
    count_ = count;
    body_ = &body;
    next_.store(0, std::memory_order_relaxed);
    entrants_.store(kOpen, std::memory_order_release);
    epoch_.fetch_add(1, std::memory_order_seq_cst);
    if (sleepers_.load(std::memory_order_seq_cst) > 0) epoch_.notify_all();
    Drain(body, 0);
    entrants_.fetch_sub(kOpen, std::memory_order_acq_rel);
    for (int spins = 0; entrants_.load(std::memory_order_acquire) != 0; ++spins) {
      if (spins < kSpins) {
        Pause();
      } else {
        std::this_thread::yield();
      }
    }
  }

 private:
  static constexpr int64_t kOpen = int64_t{1} << 32;

  void Drain(absl::FunctionRef<void(int64_t, int)> body, int worker) {
    for (;;) {
      const int64_t index = next_.fetch_add(1, std::memory_order_relaxed);
      if (index >= count_) return;
      body(index, worker);
    }
  }

  void Work(int worker) {
    uint32_t seen = 0;
    while (!stop_.load(std::memory_order_relaxed)) {
      seen = WaitForChange(seen);
      int64_t entrants = entrants_.load(std::memory_order_acquire);
      bool entered = false;
      while (entrants >= kOpen && !entered) {
        entered = entrants_.compare_exchange_weak(entrants, entrants + 1, std::memory_order_acq_rel,
                                                  std::memory_order_acquire);
      }
      if (!entered) continue;
      Drain(*body_, worker);
      entrants_.fetch_sub(1, std::memory_order_release);
    }
  }

  uint32_t WaitForChange(uint32_t seen) {
    for (int spins = 0; spins < kSpins; ++spins) {
      const uint32_t now = epoch_.load(std::memory_order_acquire);
      if (now != seen) return now;
      Pause();
    }
    sleepers_.fetch_add(1, std::memory_order_seq_cst);
    epoch_.wait(seen, std::memory_order_seq_cst);
    sleepers_.fetch_sub(1, std::memory_order_relaxed);
    return epoch_.load(std::memory_order_acquire);
  }

  int64_t count_ = 0;
  const absl::FunctionRef<void(int64_t, int)>* body_ = nullptr;
  alignas(64) std::atomic<int64_t> next_{0};
  alignas(64) std::atomic<int64_t> entrants_{0};  // kOpen while open, plus the number of workers inside
  alignas(64) std::atomic<uint32_t> epoch_{0};    // jobs published
  std::atomic<int> sleepers_{0};
  std::atomic<bool> stop_{false};
  std::vector<std::thread> threads_;
};

ThreadPool::ThreadPool(int threads) : impl_(std::make_unique<Impl>(threads < 1 ? 1 : threads)) {}
ThreadPool::~ThreadPool() = default;

int ThreadPool::threads() const { return impl_->threads(); }

void ThreadPool::ParallelFor(int64_t count, absl::FunctionRef<void(int64_t, int)> body) {
  if (count <= 1 || threads() == 1) {
    for (int64_t i = 0; i < count; ++i) body(i, 0);
    return;
  }
  impl_->Run(count, body);
}

}  // namespace precis::kernels
