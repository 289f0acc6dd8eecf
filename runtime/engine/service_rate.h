#ifndef PRECIS_RUNTIME_ENGINE_SERVICE_RATE_H_
#define PRECIS_RUNTIME_ENGINE_SERVICE_RATE_H_

#include <algorithm>

#include "absl/time/time.h"

namespace precis::runtime {

// How fast requests leave a busy engine: a moving average of the time between two ends while others wait or run.
// For the advice "retry after". Not thread-safe.
class ServiceRate {
 public:
  void OnFinished(absl::Time now, bool still_busy) {
    if (last_ != absl::InfinitePast()) {
      const absl::Duration interval = std::min(now - last_, absl::Minutes(1));
      average_ = average_ == absl::ZeroDuration() ? interval : average_ * 0.8 + interval * 0.2;
    }
    last_ = still_busy ? now : absl::InfinitePast();
  }

  // How long until `ahead` requests have left.
  absl::Duration Estimate(int ahead) const {
    const absl::Duration interval = average_ == absl::ZeroDuration() ? absl::Milliseconds(100) : average_;
    return std::min(interval * ahead, absl::Minutes(1));
  }

 private:
  absl::Time last_ = absl::InfinitePast();
  absl::Duration average_ = absl::ZeroDuration();
};

}  // namespace precis::runtime

#endif  // PRECIS_RUNTIME_ENGINE_SERVICE_RATE_H_
