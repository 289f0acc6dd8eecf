#include "runtime/engine/delivery.h"

#include <utility>

namespace precis::runtime {

Delivery::Delivery() : thread_([this] { Run(); }) {}

Delivery::~Delivery() {
  {
    MutexLock lock(&mu_);
    stopping_ = true;
    work_.Signal();
  }
  thread_.join();
}

void Delivery::Post(Event event) {
  MutexLock lock(&mu_);
  events_.push_back(std::move(event));
  work_.Signal();
}

void Delivery::Flush() {
  MutexLock lock(&mu_);
  while (!events_.empty() || calling_) idle_.Wait(&mu_);
}

void Delivery::Run() {
  std::deque<Event> batch;
  while (true) {
    {
      MutexLock lock(&mu_);
      calling_ = false;
      if (events_.empty()) idle_.SignalAll();
      while (events_.empty() && !stopping_) work_.Wait(&mu_);
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
