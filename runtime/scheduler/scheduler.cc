#include "runtime/scheduler/scheduler.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace precis::runtime {

using kernels::kPageTokens;

Scheduler::Scheduler(const SchedulerOptions& options, KvCache* cache)
    : options_(options),
      max_running_(std::max(1, std::min(options.max_batch_rows, options.max_step_tokens))),
      cache_(*cache),
      waiting_(options.priority_aging) {}

Scheduler::~Scheduler() {
  for (Sequence* sequence : running_) cache_.Release(sequence->spec.pool, &sequence->pages);
}

absl::Status Scheduler::CheckBounds(int pool, int64_t prompt_tokens, int64_t max_new_tokens,
                                    RejectReason* reason) const {
  const int64_t pages = PagesFor(prompt_tokens + max_new_tokens);
  if (pages > cache_.pages(pool)) {
    *reason = RejectReason::kMemory;
    return absl::ResourceExhaustedError(absl::StrCat(
        "The request can grow to ", prompt_tokens, " prompt and ", max_new_tokens, " new tokens, which needs ",
        pages * cache_.page_bytes(pool), " bytes of KV cache; the server has ", cache_.budget_bytes(),
        ". Send a shorter document or a smaller max_new_tokens; the operator can raise --kv-cache-bytes."));
  }
  if (queued_ >= options_.max_queued_requests) {
    *reason = RejectReason::kQueueFull;
    return absl::ResourceExhaustedError(absl::StrCat("The queue is full: ", queued_, " requests wait, at most ",
                                                     options_.max_queued_requests,
                                                     " may. Retry after the given time."));
  }
  if (queued_tokens_ + prompt_tokens > options_.max_queued_tokens) {
    *reason = RejectReason::kQueueTokens;
    return absl::ResourceExhaustedError(
        absl::StrCat("The queue is full: ", queued_tokens_, " prompt tokens wait and the request has ",
                     prompt_tokens, "; at most ", options_.max_queued_tokens,
                     " may wait. Retry after the given time."));
  }
  return absl::OkStatus();
}

absl::StatusOr<Sequence*> Scheduler::Enqueue(SequenceSpec spec, absl::Time now, RejectReason* reason) {
  absl::Status status =
      CheckBounds(spec.pool, static_cast<int64_t>(spec.prompt.size()), spec.max_new_tokens, reason);
  if (!status.ok()) return status;
  auto sequence = std::make_unique<Sequence>();
  sequence->id = next_id_++;
  sequence->spec = std::move(spec);
  sequence->submitted = now;
  sequence->pages_since = now;
  Sequence* const pointer = sequence.get();
  sequences_.emplace(pointer->id, std::move(sequence));
  waiting_.Add(pointer);
  ++queued_;
  queued_tokens_ += pointer->prompt_tokens();
  return pointer;
}

std::unique_ptr<Sequence> Scheduler::Cancel(SequenceId id, absl::Time now) {
  const auto found = sequences_.find(id);
  if (found == sequences_.end()) return nullptr;
  Sequence* const sequence = found->second.get();
  sequence->cancelled = std::min(sequence->cancelled, now);
  if (sequence->running) return nullptr;
  LeaveQueue(sequence);
  return Extract(sequence);
}

std::vector<std::unique_ptr<Sequence>> Scheduler::ExpireQueued(absl::Time now) {
  std::vector<std::unique_ptr<Sequence>> expired;
  while (Sequence* sequence = waiting_.Expired(now)) {
    LeaveQueue(sequence);
    expired.push_back(Extract(sequence));
  }
  return expired;
}

std::vector<std::unique_ptr<Sequence>> Scheduler::Reap(absl::Time now) {
  std::vector<std::unique_ptr<Sequence>> ended;
  const std::vector<Sequence*> candidates = running_;
  for (Sequence* sequence : candidates) {
    if (sequence->cancelled <= now || sequence->spec.deadline <= now) ended.push_back(Finish(sequence, now));
  }
  return ended;
}

std::unique_ptr<Sequence> Scheduler::Finish(Sequence* sequence, absl::Time now) {
  ReleasePages(sequence, now);
  running_.erase(std::find(running_.begin(), running_.end(), sequence));
  return Extract(sequence);
}

Plan Scheduler::MakePlan(absl::Time now) {
  Plan plan;
  const auto sort_running = [&] {
    std::sort(running_.begin(), running_.end(),
              [&](const Sequence* a, const Sequence* b) { return HasBetterRank(a, b, now); });
  };
  sort_running();
  PreemptForPriority(now, &plan);
  if (!plan.preempted.empty()) sort_running();
  int budget = options_.max_step_tokens;
  PlanDecodes(now, &budget, &plan);
  PlanPrefills(now, budget, &plan);
  std::stable_sort(plan.rows.begin(), plan.rows.end(), [](const PlannedRow& a, const PlannedRow& b) {
    return a.sequence->spec.pool < b.sequence->spec.pool;
  });
  return plan;
}

void Scheduler::Complete(const PlannedRow& row) {
  Sequence& sequence = *row.sequence;
  sequence.computed += row.count;
  // Only what prefill wrote is shared; the last page of the prompt stays private unless it is full.
  const int full = std::min(sequence.computed, sequence.prompt_tokens()) / kPageTokens;
  cache_.Publish(sequence.spec.pool, sequence.spec.variant, sequence.spec.prompt, sequence.pages, full,
                 &sequence.prefix);
}

bool Scheduler::HasBetterRank(const Sequence* a, const Sequence* b, absl::Time now) const {
  return RankOf(*a, now, options_.priority_aging).Before(RankOf(*b, now, options_.priority_aging));
}

// When the first in line lacks memory only because lower classes hold it, they make way.
void Scheduler::PreemptForPriority(absl::Time now, Plan* plan) {
  Sequence* const first = waiting_.Front(now);
  if (first == nullptr || running() >= max_running_ || running_.empty()) return;
  const int64_t needed = PagesFor(first->known_tokens()) * cache_.page_bytes(first->spec.pool);
  if (needed <= cache_.available_bytes()) return;
  const int own_class = RankOf(*first, now, options_.priority_aging).priority_class;
  int64_t room = cache_.available_bytes();
  size_t keep = running_.size();
  while (room < needed && keep > 0 &&
         RankOf(*running_[keep - 1], now, options_.priority_aging).priority_class < own_class) {
    const Sequence& victim = *running_[--keep];
    room += cache_.Exclusive(victim.spec.pool, victim.pages) * cache_.page_bytes(victim.spec.pool);
  }
  if (room < needed) return;
  while (running_.size() > keep) Preempt(running_.back(), now, plan);
  Admit(first, now, plan);
}

bool Scheduler::Admit(Sequence* sequence, absl::Time now, Plan* plan) {
  const SequenceSpec& spec = sequence->spec;
  // The last token of the prompt is always computed: the first new token comes from it.
  const PrefixCursor prefix = cache_.Match(spec.pool, spec.variant, spec.prompt,
                                           (sequence->prompt_tokens() - 1) / kPageTokens, &sequence->pages);
  const int64_t more = PagesFor(sequence->known_tokens()) - prefix.pages;
  if (!LeavesRoomToGrow(*sequence, more) || !cache_.Grow(spec.pool, more, &sequence->pages)) {
    cache_.Release(spec.pool, &sequence->pages);
    return false;
  }
  if (sequence->admitted == absl::InfiniteFuture()) {
    sequence->cached_tokens = prefix.pages * kPageTokens;
    plan->admitted.push_back(sequence);
  }
  LeaveQueue(sequence);
  sequence->admitted = std::min(sequence->admitted, now);
  sequence->prefix = prefix;
  sequence->computed = prefix.pages * kPageTokens;
  sequence->running = true;
  sequence->pages_since = now;
  sequence->peak_pages = std::max<int64_t>(sequence->peak_pages, sequence->pages.size());
  running_.push_back(sequence);
  return true;
}

bool Scheduler::LeavesRoomToGrow(const Sequence& sequence, int64_t more_pages) const {
  if (running_.empty()) return true;
  const auto bytes = [&](const Sequence& s, int64_t pages) { return pages * cache_.page_bytes(s.spec.pool); };
  int64_t growth = bytes(sequence, sequence.most_pages() - PagesFor(sequence.known_tokens()));
  for (const Sequence* other : running_) {
    growth += bytes(*other, other->most_pages() - static_cast<int64_t>(other->pages.size()));
  }
  return bytes(sequence, more_pages) + static_cast<int64_t>(options_.growth_reserve * growth) <=
         cache_.available_bytes();
}

void Scheduler::PlanDecodes(absl::Time now, int* budget, Plan* plan) {
  for (size_t i = 0; i < running_.size(); ++i) {
    Sequence* const sequence = running_[i];
    if (!sequence->decoding()) continue;
    AccountPages(sequence, now);
    const int64_t more = PagesFor(sequence->known_tokens()) - static_cast<int64_t>(sequence->pages.size());
    // The worst rank makes way, possibly this one itself. Those before it are in the plan already and stay.
    while (running_.size() > i && !cache_.Grow(sequence->spec.pool, more, &sequence->pages)) {
      Preempt(running_.back(), now, plan);
    }
    if (running_.size() == i) return;
    sequence->peak_pages = std::max<int64_t>(sequence->peak_pages, sequence->pages.size());
    plan->rows.push_back({sequence, sequence->computed, 1, /*replay=*/false, /*sample=*/true});
    --*budget;
  }
}

void Scheduler::PlanPrefills(absl::Time now, int budget, Plan* plan) {
  const size_t planned = running_.size();  // sorted; what is admitted below comes after
  bool may_admit = plan->preempted.empty();
  for (size_t i = 0; budget > 0;) {
    while (i < planned && running_[i]->decoding()) ++i;
    Sequence* next = i < planned ? running_[i] : nullptr;
    Sequence* const first = may_admit && running() < max_running_ ? waiting_.Front(now) : nullptr;
    if (first != nullptr && (next == nullptr || HasBetterRank(first, next, now))) {
      // In strict order: nobody overtakes the first in line because he is smaller.
      may_admit = Admit(first, now, plan);
      if (!may_admit) continue;
      next = first;
    } else if (next == nullptr) {
      return;
    } else {
      ++i;
    }
    const bool replay = next->replaying();
    const int end = replay ? next->known_tokens() : next->prompt_tokens();
    const int count = std::min(budget, end - next->computed);
    const bool sample = next->computed + count == next->known_tokens();
    plan->rows.push_back({next, next->computed, count, replay, sample});
    budget -= count;
  }
}

void Scheduler::Preempt(Sequence* sequence, absl::Time now, Plan* plan) {
  ReleasePages(sequence, now);
  running_.erase(std::find(running_.begin(), running_.end(), sequence));
  sequence->running = false;
  sequence->computed = 0;
  ++sequence->preemptions;
  waiting_.Add(sequence);
  plan->preempted.push_back(sequence);
}

void Scheduler::AccountPages(Sequence* sequence, absl::Time now) {
  sequence->page_seconds +=
      static_cast<double>(sequence->pages.size()) * absl::ToDoubleSeconds(now - sequence->pages_since);
  sequence->pages_since = now;
}

void Scheduler::ReleasePages(Sequence* sequence, absl::Time now) {
  AccountPages(sequence, now);
  cache_.Release(sequence->spec.pool, &sequence->pages);
}

void Scheduler::LeaveQueue(Sequence* sequence) {
  waiting_.Remove(sequence);
  if (sequence->admitted != absl::InfiniteFuture()) return;
  --queued_;
  queued_tokens_ -= sequence->prompt_tokens();
}

std::unique_ptr<Sequence> Scheduler::Extract(Sequence* sequence) {
  auto node = sequences_.extract(sequence->id);
  return std::move(node.mapped());
}

}  // namespace precis::runtime
