#ifndef PRECIS_CLIENT_INTERNAL_HEDGE_H_
#define PRECIS_CLIENT_INTERNAL_HEDGE_H_

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "client/summarizer_client.h"

namespace precis::client {

// What HedgeOptions allow, for all calls of a client. Thread-safe.
class HedgeBudget {
 public:
  explicit HedgeBudget(const HedgeOptions& options) : options_(options), tokens_(options.burst) {}

  void OnCall();
  // Takes a copy's token; false if there is none.
  bool Take();

 private:
  const HedgeOptions options_;
  absl::Mutex mutex_;
  double tokens_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace precis::client

#endif  // PRECIS_CLIENT_INTERNAL_HEDGE_H_
