#ifndef PRECIS_RUNTIME_ENGINE_CLOCK_H_
#define PRECIS_RUNTIME_ENGINE_CLOCK_H_

#include <chrono>

#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace precis::runtime {

// The engine's time: runs with the monotonic clock, whatever happens to the wall clock, and reads as the wall clock's time at
// start-up. Thread-safe.
class EngineClock {
 public:
  absl::Time Now() const {
    return wall_start_ + absl::FromChrono(std::chrono::steady_clock::now() - start_);
  }
  // A deadline by the wall clock as the engine's time.
  absl::Time FromWall(absl::Time deadline) const {
    if (deadline == absl::InfiniteFuture() || deadline == absl::InfinitePast()) return deadline;
    return Now() + (deadline - absl::Now());
  }

 private:
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  const absl::Time wall_start_ = absl::Now();
};

}  // namespace precis::runtime

#endif  // PRECIS_RUNTIME_ENGINE_CLOCK_H_
