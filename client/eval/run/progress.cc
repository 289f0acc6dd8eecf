#include "client/eval/run/progress.h"

#include <unistd.h>

#include <iostream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"

namespace precis::eval {

Progress::Progress(std::string what, int64_t total, bool quiet)
    : what_(std::move(what)), total_(total), quiet_(quiet), terminal_(isatty(STDERR_FILENO) != 0), start_(absl::Now()),
      next_(start_ + (terminal_ ? absl::ZeroDuration() : absl::Seconds(10))) {}

Progress::~Progress() {
  absl::MutexLock lock(&mutex_);
  if (total_ > 0) Show(absl::Now(), true);
}

void Progress::Add(bool error, bool measured) {
  absl::MutexLock lock(&mutex_);
  ++done_;
  errors_ += error;
  measured_ += measured;
  const absl::Time now = absl::Now();
  if (now >= next_) Show(now, false);
}

void Progress::Show(absl::Time now, bool last) {
  if (quiet_) return;
  next_ = now + (terminal_ ? absl::Milliseconds(500) : absl::Seconds(10));
  const double seconds = absl::ToDoubleSeconds(now - start_);
  std::string line = absl::StrFormat("%s: %d of %d", what_, done_, total_);
  if (errors_ > 0) absl::StrAppend(&line, ", ", errors_, " failed");
  if (last) {
    absl::StrAppendFormat(&line, ", %.1f s", seconds);
  } else if (measured_ > 0) {
    const absl::Duration left = absl::Seconds(seconds / static_cast<double>(measured_) * static_cast<double>(total_ - done_));
    absl::StrAppendFormat(&line, ", %.2f/s, %s left", static_cast<double>(measured_) / seconds, absl::FormatDuration(absl::Ceil(left, absl::Seconds(1))));
  }
  std::cerr << (terminal_ ? "\r\x1b[K" : "") << line << (terminal_ && !last ? "" : "\n") << std::flush;
}

}  // namespace precis::eval
