#include "kernels/thread_pool.h"

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace precis::kernels {
namespace {

class ThreadPoolTest : public testing::TestWithParam<int> {};

TEST_P(ThreadPoolTest, RunsEachIndexOnce) {
  ThreadPool pool(GetParam());
  EXPECT_EQ(pool.threads(), GetParam());
  for (int64_t count : {0, 1, 2, 3, 7, 1000}) {
    std::vector<std::atomic<int>> runs(count);
    std::atomic<int> bad_workers{0};
    pool.ParallelFor(count, [&](int64_t i, int worker) {
      runs[i].fetch_add(1);
      if (worker < 0 || worker >= GetParam()) bad_workers.fetch_add(1);
    });
    for (const auto& run : runs) EXPECT_EQ(run.load(), 1);
    EXPECT_EQ(bad_workers.load(), 0);
  }
}

// Plain writes of the body are visible to the caller, and the other way round: no lost or late job in many short ones.
TEST_P(ThreadPoolTest, ManyShortJobsSeeEachOther) {
  ThreadPool pool(GetParam());
  std::vector<int64_t> sums(8, 0);
  constexpr int kJobs = 20000;
  for (int job = 0; job < kJobs; ++job) {
    pool.ParallelFor(8, [&](int64_t i, int) { sums[i] += job; });
  }
  for (int64_t sum : sums) EXPECT_EQ(sum, int64_t{kJobs} * (kJobs - 1) / 2);
}

TEST_P(ThreadPoolTest, WakesSleepingWorkers) {
  ThreadPool pool(GetParam());
  for (int round = 0; round < 5; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    std::atomic<int> ran{0};
    pool.ParallelFor(GetParam() * 2, [&](int64_t, int) { ran.fetch_add(1); });
    EXPECT_EQ(ran.load(), GetParam() * 2);
  }
}

// A worker must take part: each of two indices waits for the other to have started.
TEST(ThreadPool, WorkersRunAtTheSameTime) {
  ThreadPool pool(2);
  std::atomic<int> started{0};
  pool.ParallelFor(2, [&](int64_t, int) {
    started.fetch_add(1);
    while (started.load() < 2) std::this_thread::yield();
  });
  EXPECT_EQ(started.load(), 2);
}

TEST(ThreadPool, AtLeastTheCaller) { EXPECT_EQ(ThreadPool(0).threads(), 1); }

INSTANTIATE_TEST_SUITE_P(Threads, ThreadPoolTest, testing::Values(1, 2, 3, 8));

}  // namespace
}  // namespace precis::kernels
