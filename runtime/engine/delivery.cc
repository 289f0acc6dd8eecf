#include "runtime/engine/delivery.h"

#include <utility>

namespace precis::runtime {

Delivery::Delivery() : thread_([this] { Run(); }) {}

Delivery::~Delivery() {
  {
    absl::MutexLock lock(&mu_);
    stopping_ = true;
  }
  thread_.join();
}

void Delivery::Post(Event event) {
  absl::MutexLock lock(&mu_);
  events_.push_back(std::move(event));
}

void Delivery::Post(std::vector<Event> events) {
  if (events.empty()) return;
  absl::MutexLock lock(&mu_);
  for (Event& event : events) events_.push_back(std::move(event));
}

void Delivery::Flush() {
  absl::MutexLock lock(&mu_);
  mu_.Await(absl::Condition(this, &Delivery::Idle));
}

void Delivery::Run() {
  std::deque<Event> batch;
  while (true) {
    {
      absl::MutexLock lock(&mu_);
      calling_ = false;
      mu_.Await(absl::Condition(this, &Delivery::HasWork));
      if (events_.empty()) return;
      batch.swap(events_);
      calling_ = true;
    }
    for (Event& event : batch) {
      if (!event.delta.empty() && event.callbacks->on_text) event.callbacks->on_text(event.delta);
      if (event.result.has_value()) event.callbacks->on_done(*std::move(event.result));
    }
    batch.clear();
  }
}

}  // namespace precis::runtime
