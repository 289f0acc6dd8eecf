// Model checking by random schedules. 5,000 of them; 100,000 with PRECIS_TEST_FULL=1. PRECIS_SEED=n runs that one alone.
#include <cstdlib>
#include <iostream>

#include "gtest/gtest.h"
#include "tests/runtime/engine/schedule_world.h"

namespace precis::testing {
namespace {

TEST(SchedulerPropertyTest, EveryPromiseHoldsOnRandomSchedules) {
  const char* const seed = std::getenv("PRECIS_SEED");
  const bool full = std::getenv("PRECIS_TEST_FULL") != nullptr && std::string(std::getenv("PRECIS_TEST_FULL")) == "1";
  const uint64_t first = seed != nullptr ? std::strtoull(seed, nullptr, 10) : 1;
  const uint64_t count = seed != nullptr ? 1 : full ? 100000 : 5000;
  ScheduleWorld::Counts sum;
  for (uint64_t i = first; i < first + count; ++i) {
    ScheduleWorld world(i);
    const std::string problem = world.Run();
    ASSERT_EQ(problem, "") << "in schedule " << i << "; PRECIS_SEED=" << i << " repeats it";
    const auto& counts = world.counts();
    sum.requests += counts.requests;
    sum.refused += counts.refused;
    sum.completed += counts.completed;
    sum.cancelled += counts.cancelled;
    sum.expired += counts.expired;
    sum.preemptions += counts.preemptions;
    sum.cached += counts.cached;
    sum.steps += counts.steps;
    sum.ahead += counts.ahead;
    sum.replays += counts.replays;
    sum.beams += counts.beams;
    sum.beam_preemptions += counts.beam_preemptions;
    sum.copies += counts.copies;
    sum.turns += counts.turns;
  }
  EXPECT_EQ(sum.requests, sum.refused + sum.completed + sum.cancelled + sum.expired);
  std::cout << count << " schedules: " << sum.requests << " requests, " << sum.refused << " refused, "
            << sum.completed << " completed, " << sum.cancelled << " cancelled, " << sum.expired << " expired, "
            << sum.preemptions << " preemptions, " << sum.replays << " replays, " << sum.cached
            << " cached tokens, " << sum.steps << " steps, " << sum.ahead << " more ahead; with beams " << sum.beams << " completed, " << sum.beam_preemptions
            << " preemptions, " << sum.copies << " copied blocks\n";
  if (seed != nullptr) return;
  // The schedules reach every corner.
  for (int64_t often : {sum.refused, sum.cancelled, sum.expired, sum.preemptions, sum.replays, sum.cached, sum.ahead, sum.beams, sum.copies, sum.turns}) {
    EXPECT_GT(often, static_cast<int64_t>(count) / 20);
  }
  EXPECT_GT(sum.beam_preemptions, static_cast<int64_t>(count) / 100);
}

}  // namespace
}  // namespace precis::testing
