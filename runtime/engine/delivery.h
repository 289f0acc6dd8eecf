#ifndef PRECIS_RUNTIME_ENGINE_DELIVERY_H_
#define PRECIS_RUNTIME_ENGINE_DELIVERY_H_

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "runtime/base/mutex.h"
#include "runtime/engine.h"

namespace precis::runtime {

// Calls the callbacks on a thread of its own, in the order in which they were posted, so that a slow one delays no step. Thread-safe.
class Delivery {
 public:
  struct Event {
    std::shared_ptr<const RequestCallbacks> callbacks;
    std::string delta;                            // on_text, if not empty
    std::optional<absl::StatusOr<Result>> result;  // then on_done, if set
  };

  Delivery();
  // Delivers what was posted first.
  ~Delivery();

  void Post(Event event);
  // Returns when all that was posted before has been called. Not from a callback.
  void Flush();

 private:
  void Run();

  Mutex mu_;
  CondVar work_;  // events_, or stopping_
  CondVar idle_;  // all is delivered
  std::deque<Event> events_ ABSL_GUARDED_BY(mu_);
  bool calling_ ABSL_GUARDED_BY(mu_) = false;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::thread thread_;
};

}  // namespace precis::runtime

#endif  // PRECIS_RUNTIME_ENGINE_DELIVERY_H_
