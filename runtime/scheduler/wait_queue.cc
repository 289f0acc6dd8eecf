#include "runtime/scheduler/wait_queue.h"

#include <algorithm>

namespace precis::runtime {

Rank RankOf(const Sequence& sequence, absl::Time now, absl::Duration aging) {
  const int priority = static_cast<int>(sequence.spec.priority);
  const int top = kPriorities - 1;
  absl::Duration left = now - sequence.submitted;
  int raised = priority;
  while (raised < top && left >= aging) {
    ++raised;
    left -= aging;
  }
  return {raised, sequence.id};
}

void WaitQueue::Add(Sequence* sequence) {
  classes_[static_cast<int>(sequence->spec.priority)].emplace(sequence->id, sequence);
  if (sequence->spec.deadline != absl::InfiniteFuture()) {
    deadlines_.emplace(std::make_pair(sequence->spec.deadline, sequence->id), sequence);
  }
  prompt_tokens_ += sequence->prompt_tokens();
}

void WaitQueue::Remove(Sequence* sequence) {
  classes_[static_cast<int>(sequence->spec.priority)].erase(sequence->id);
  deadlines_.erase({sequence->spec.deadline, sequence->id});
  prompt_tokens_ -= sequence->prompt_tokens();
}

Sequence* WaitQueue::Front(absl::Time now) const {
  Sequence* best = nullptr;
  Rank best_rank;
  for (const auto& sequences : classes_) {
    if (sequences.empty()) continue;
    Sequence* candidate = sequences.begin()->second;
    const Rank rank = RankOf(*candidate, now, aging_);
    if (best == nullptr || rank.Before(best_rank)) {
      best = candidate;
      best_rank = rank;
    }
  }
  return best;
}

Sequence* WaitQueue::Expired(absl::Time now) const {
  return next_deadline() > now || deadlines_.empty() ? nullptr : deadlines_.begin()->second;
}

absl::Time WaitQueue::next_deadline() const {
  return deadlines_.empty() ? absl::InfiniteFuture() : deadlines_.begin()->first.first;
}

int WaitQueue::size() const {
  int total = 0;
  for (const auto& sequences : classes_) total += static_cast<int>(sequences.size());
  return total;
}

}  // namespace precis::runtime
