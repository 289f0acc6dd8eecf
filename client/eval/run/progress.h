#ifndef PRECIS_CLIENT_EVAL_RUN_PROGRESS_H_
#define PRECIS_CLIENT_EVAL_RUN_PROGRESS_H_

#include <cstdint>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace precis::eval {

// One line on the standard error: done of all, errors, rate and the time that is left. On a terminal it is rewritten twice a second,
// elsewhere a line comes every ten seconds. Thread-safe.
class Progress {
 public:
  Progress(std::string what, int64_t total, bool quiet);
  ~Progress();  // writes the last state
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // `measured`: took a request's time (an answer from the cache does not, and would make the estimate too good).
  void Add(bool error, bool measured);

 private:
  void Show(absl::Time now, bool last) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::string what_;
  const int64_t total_;
  const bool quiet_, terminal_;
  const absl::Time start_;
  absl::Mutex mutex_;
  int64_t done_ ABSL_GUARDED_BY(mutex_) = 0, errors_ ABSL_GUARDED_BY(mutex_) = 0, measured_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Time next_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace precis::eval

#endif  // PRECIS_CLIENT_EVAL_RUN_PROGRESS_H_
