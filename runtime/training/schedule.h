#ifndef PRECIS_RUNTIME_TRAINING_SCHEDULE_H_
#define PRECIS_RUNTIME_TRAINING_SCHEDULE_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numbers>
#include <string_view>

namespace precis::runtime {

enum class Schedule : uint8_t { kCosine, kLinear, kTrapezoid, kConstant };

inline constexpr std::string_view kScheduleNames[] = {"cosine", "linear", "trapezoid", "constant"};

struct ScheduleOptions {
  Schedule schedule = Schedule::kCosine;
  double rate = 3e-4;      // at its highest
  double final_rate = 3e-5;  // at the last step
  int64_t warmup = 0;      // steps to the highest, from rate / warmup
  int64_t cooldown = 0;    // trapezoid: the last steps, falling in a line
  int64_t steps = 1;
};

// The learning rate of step 1 .. steps.
inline double RateAt(const ScheduleOptions& o, int64_t step) {
  if (step <= o.warmup) return o.rate * static_cast<double>(step) / static_cast<double>(o.warmup);
  const int64_t begin = o.schedule == Schedule::kTrapezoid ? std::max(o.warmup, o.steps - o.cooldown) : o.warmup;
  if (o.schedule == Schedule::kConstant || step <= begin) return o.rate;
  const double done = std::min(1.0, static_cast<double>(step - begin) / static_cast<double>(std::max<int64_t>(1, o.steps - begin)));
  const double left = o.schedule == Schedule::kCosine ? 0.5 * (1 + std::cos(std::numbers::pi * done)) : 1 - done;
  return o.final_rate + (o.rate - o.final_rate) * left;
}

}  // namespace precis::runtime

#endif  // PRECIS_RUNTIME_TRAINING_SCHEDULE_H_
