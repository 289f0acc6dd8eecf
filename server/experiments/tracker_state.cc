// What is kept over restarts, and the thread that writes it.
#include "absl/time/clock.h"
#include "server/experiments/tracker.h"

namespace precis::server {

absl::Status ExperimentTracker::Restore() {
  if (file_ == nullptr) return absl::OkStatus();
  absl::StatusOr<StoredState> state = file_->Load();
  if (!state.ok()) return state.status();
  absl::MutexLock lock(&mutex_);
  for (StoredResults& r : state->results) stored_[{r.experiment, r.fingerprint}] = std::move(r.bytes);
  stored_stops_ = std::move(state->stops);
  for (AssignedRequest& request : state->requests) Remember(std::move(request));
  changed_.clear();
  return absl::OkStatus();
}

StoredState ExperimentTracker::TakeChanges() {
  StoredState changes;
  changes.results.swap(departed_);
  for (auto& [name, live] : live_) {
    if (live.dirty) changes.results.push_back({name, live.fingerprint, live.results.Serialize()});
    live.dirty = false;
  }
  for (const std::string& key : changed_) {
    const auto it = open_.find(key);
    if (it != open_.end()) changes.requests.push_back(it->second);
  }
  changed_.clear();
  changes.stops.swap(new_stops_);
  return changes;
}

void ExperimentTracker::PutBack(const StoredState& changes) {
  for (const StoredResults& r : changes.results) {
    if (Live* live = Find(r.experiment); live != nullptr && live->fingerprint == r.fingerprint) {
      live->dirty = true;
    } else {
      departed_.push_back(r);
    }
  }
  for (const AssignedRequest& request : changes.requests) {
    if (open_.contains(request.key)) changed_.insert(request.key);
  }
  new_stops_.insert(new_stops_.begin(), changes.stops.begin(), changes.stops.end());
}

absl::Status ExperimentTracker::Flush() {
  absl::MutexLock flushing(&flush_mutex_);
  StoredState changes;
  std::vector<Waiting> waiting;
  {
    absl::MutexLock lock(&mutex_);
    if (file_ != nullptr) changes = TakeChanges();
    waiting.swap(waiting_);
  }
  absl::Status status;
  if (!changes.results.empty() || !changes.requests.empty() || !changes.stops.empty()) {
    status = file_->Save(changes, Now() - absl::ToInt64Seconds(options_.outcome_window));
  }
  if (!status.ok()) {
    absl::MutexLock lock(&mutex_);
    PutBack(changes);
  }
  if (!status.ok() && events_.on_save_failed != nullptr) events_.on_save_failed(status);
  for (Waiting& call : waiting) {
    if (status.ok()) {
      call.done(std::move(call.response));
    } else {
      call.done(status);
    }
  }
  return status;
}

void ExperimentTracker::Run() {
  absl::Time next_check = absl::Now() + options_.check_interval;
  const auto wake = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return stop_ || !waiting_.empty(); };
  bool stop = false;
  while (!stop) {
    {
      absl::MutexLock lock(&mutex_);
      mutex_.AwaitWithTimeout(absl::Condition(&wake), options_.flush_interval);
      stop = stop_;
    }
    (void)Flush();
    if (stop || absl::Now() < next_check) continue;
    Check();
    next_check = absl::Now() + options_.check_interval;
  }
}

}  // namespace precis::server
