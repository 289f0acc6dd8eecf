#ifndef PRECIS_RUNTIME_SCHEDULER_WAIT_QUEUE_H_
#define PRECIS_RUNTIME_SCHEDULER_WAIT_QUEUE_H_

#include <array>
#include <cstdint>
#include <map>
#include <utility>

#include "absl/time/time.h"
#include "runtime/scheduler/sequence.h"

namespace precis::runtime {

// A sequence's place in line: the higher class first, then the earlier arrival. A class is the priority, raised by one for every
// `aging` since arrival, up to the highest. So what has waited for (kPriorities - 1) * aging goes before all that arrived later.
struct Rank {
  int priority_class = 0;
  SequenceId arrival = 0;
  bool Before(const Rank& other) const {
    return priority_class != other.priority_class ? priority_class > other.priority_class
                                                  : arrival < other.arrival;
  }
};

Rank RankOf(const Sequence& sequence, absl::Time now, absl::Duration aging);

// The sequences that wait. Every operation is at most logarithmic. Not thread-safe; holds no ownership.
class WaitQueue {
 public:
  explicit WaitQueue(absl::Duration aging) : aging_(aging) {}

  void Add(Sequence* sequence);
  void Remove(Sequence* sequence);
  // The best rank at `now`; null if nobody waits.
  Sequence* Front(absl::Time now) const;
  // One whose deadline is not after `now`; null if there is none.
  Sequence* Expired(absl::Time now) const;
  absl::Time next_deadline() const;

  int size(Priority priority) const { return static_cast<int>(classes_[static_cast<int>(priority)].size()); }
  int size() const;
  int64_t prompt_tokens() const { return prompt_tokens_; }
  // All that wait, by class, in order of arrival.
  const std::array<std::map<SequenceId, Sequence*>, kPriorities>& classes() const { return classes_; }

 private:
  const absl::Duration aging_;
  // Within a class the earliest arrival has the best rank at any time.
  std::array<std::map<SequenceId, Sequence*>, kPriorities> classes_;
  std::map<std::pair<absl::Time, SequenceId>, Sequence*> deadlines_;
  int64_t prompt_tokens_ = 0;
};

}  // namespace precis::runtime

#endif  // PRECIS_RUNTIME_SCHEDULER_WAIT_QUEUE_H_
