#include "runtime/scheduler/scheduler.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace precis::runtime {
namespace {

using kernels::kPageTokens;

// The references of all branches, shared pages as often as they are shared.
std::vector<int32_t> References(const Sequence& sequence) {
  std::vector<int32_t> pages = sequence.pages;
  for (const Branch& beam : sequence.beams) pages.insert(pages.end(), beam.pages.begin(), beam.pages.end());
  return pages;
}

int64_t CountHeldPages(const Sequence& sequence) {
  if (sequence.beams.empty()) return static_cast<int64_t>(sequence.pages.size());
  // All branches begin with the prompt's full pages.
  const int64_t shared = sequence.prompt_tokens() / kPageTokens;
  std::vector<int32_t> own;
  for (int i = 0; i < sequence.branches(); ++i) {
    const std::vector<int32_t>& pages = sequence.branch(i).pages;
    own.insert(own.end(), pages.begin() + shared, pages.end());
  }
  std::sort(own.begin(), own.end());
  return shared + (std::unique(own.begin(), own.end()) - own.begin());
}

// A branch that comes back after a preemption takes the prompt's tokens in its first own page from the trunk, which has run them.
void CopyTail(Sequence* sequence, Branch* branch, std::vector<PageCopy>* copies) {
  if (!branch->tail_missing) return;
  const int index = sequence->prompt_tokens() / kPageTokens;
  copies->push_back({sequence->spec.pool, sequence->pages[index], branch->pages[index]});
  branch->tail_missing = false;
}

}  // namespace

Scheduler::Scheduler(const SchedulerOptions& options, KvCache* cache)
    : options_(options),
      most_rows_(std::max(1, std::min(options.max_batch_rows, options.max_step_tokens))),
      cache_(*cache),
      waiting_(options.priority_aging) {}

Scheduler::~Scheduler() {
  for (Sequence* sequence : running_) ReleasePages(sequence, sequence->pages_since);
}

absl::Status Scheduler::CheckBounds(int pool, int64_t prompt_tokens, int64_t max_new_tokens, int beams,
                                    RejectReason* reason) const {
  const int64_t pages = PagesForBranches(prompt_tokens, prompt_tokens + max_new_tokens, beams);
  if (pages > cache_.pages(pool)) {
    *reason = RejectReason::kMemory;
    return absl::ResourceExhaustedError(absl::StrCat(
        "The request can grow to ", prompt_tokens, " prompt and ", max_new_tokens, " new tokens",
        beams > 1 ? absl::StrCat(" of each of ", beams, " beams") : "", ", which needs ",
        pages * cache_.page_bytes(pool), " bytes of KV cache; the server has ", cache_.budget_bytes(),
        ". Send a shorter document", beams > 1 ? ", fewer beams" : "",
        " or a smaller max_new_tokens; the operator can raise --kv-cache-bytes."));
  }
  return CheckQueue(prompt_tokens, reason);
}

absl::Status Scheduler::CheckQueue(int64_t prompt_tokens, RejectReason* reason) const {
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
  if (!spec.accepted) {
    absl::Status status =
        CheckBounds(spec.pool, static_cast<int64_t>(spec.prompt.size()), spec.max_new_tokens, spec.beams, reason);
    if (!status.ok()) return status;
  }
  auto sequence = std::make_unique<Sequence>();
  sequence->id = next_id_++;
  sequence->spec = std::move(spec);
  sequence->submitted = now;
  sequence->pages_since = now;
  Sequence* const pointer = sequence.get();
  sequences_.emplace(pointer->id, std::move(sequence));
  waiting_.Add(pointer);
  if (pointer->spec.accepted) return pointer;
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
  running_rows_ -= sequence->spec.beams;
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
  for (const uint64_t group : GroupsInTurn(now)) {
    int budget = options_.max_step_tokens;
    PlanDecodes(group, now, &budget, &plan);
    PlanPrefills(group, now, budget, &plan);
    if (plan.rows.empty()) continue;  // none of the group's could go on
    last_group_ = group;
    break;
  }
  std::stable_sort(plan.rows.begin(), plan.rows.end(), [](const PlannedRow& a, const PlannedRow& b) {
    return a.sequence->spec.pool < b.sequence->spec.pool;
  });
  return plan;
}

void Scheduler::Complete(const PlannedRow& row) {
  Sequence& sequence = *row.sequence;
  sequence.branch(row.branch).computed += row.count;
  if (row.branch > 0) return;
  // Only what prefill wrote is shared; the last page of the prompt stays private unless it is full.
  const int full = std::min(sequence.computed, sequence.prompt_tokens()) / kPageTokens;
  cache_.Publish(sequence.spec.pool, sequence.spec.variant, sequence.spec.prompt, sequence.pages, full,
                 &sequence.prefix);
}

void Scheduler::Advance(Sequence* sequence, absl::Span<const BeamChoice> next, absl::Time now) {
  AccountPages(sequence, now);
  const int pool = sequence->spec.pool;
  std::vector<Branch> parents(sequence->branches());
  for (int i = 0; i < sequence->branches(); ++i) parents[i] = std::move(sequence->branch(i));
  sequence->beams.resize(next.size() - 1);
  std::vector<int> heir(parents.size(), -1);  // the first child, which takes the table
  for (int i = 0; i < sequence->branches(); ++i) {
    Branch& parent = parents[next[i].parent];
    Branch& child = sequence->branch(i);
    child = Branch{parent.generated, {}, parent.computed};
    child.generated.push_back(next[i].token);
    int& first = heir[next[i].parent];
    child.pages = first < 0 ? std::move(parent.pages) : cache_.Fork(pool, sequence->branch(first).pages);
    if (first < 0) first = i;
  }
  for (size_t i = 0; i < parents.size(); ++i) {
    if (heir[i] < 0) cache_.Release(pool, &parents[i].pages);
  }
  sequence->held_pages = CountHeldPages(*sequence);
}

bool Scheduler::HasBetterRank(const Sequence* a, const Sequence* b, absl::Time now) const {
  return RankOf(*a, now, options_.priority_aging).Before(RankOf(*b, now, options_.priority_aging));
}

// When the first in line lacks memory only because lower classes hold it, they make way.
void Scheduler::PreemptForPriority(absl::Time now, Plan* plan) {
  Sequence* const first = waiting_.Front(now);
  if (first == nullptr || running_rows_ + first->spec.beams > most_rows_ || running_.empty()) return;
  const int64_t needed = first->needed_pages() * cache_.page_bytes(first->spec.pool);
  if (needed <= cache_.available_bytes()) return;
  const int own_class = RankOf(*first, now, options_.priority_aging).priority_class;
  int64_t room = cache_.available_bytes();
  size_t keep = running_.size();
  while (room < needed && keep > 0 &&
         RankOf(*running_[keep - 1], now, options_.priority_aging).priority_class < own_class) {
    const Sequence& victim = *running_[--keep];
    room += cache_.Exclusive(victim.spec.pool, References(victim)) * cache_.page_bytes(victim.spec.pool);
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
  const int64_t more = sequence->needed_pages() - prefix.pages;
  if (!LeavesRoomToGrow(*sequence, more) || more * cache_.page_bytes(spec.pool) > cache_.available_bytes()) {
    cache_.Release(spec.pool, &sequence->pages);
    return false;
  }
  TakePages(sequence);
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
  running_.push_back(sequence);
  running_rows_ += spec.beams;
  return true;
}

// The pages of all branches, for all known tokens. The trunk's has its cached prefix already.
void Scheduler::TakePages(Sequence* sequence) {
  const int pool = sequence->spec.pool;
  const int64_t pages = PagesFor(sequence->known_tokens());
  cache_.Grow(pool, pages - static_cast<int64_t>(sequence->pages.size()), &sequence->pages);
  const int shared = sequence->prompt_tokens() / kPageTokens;
  for (Branch& beam : sequence->beams) {
    beam.pages = cache_.Fork(pool, absl::MakeConstSpan(sequence->pages).first(shared));
    cache_.Grow(pool, pages - shared, &beam.pages);
    beam.computed = sequence->prompt_tokens();
    beam.tail_missing = sequence->prompt_tokens() % kPageTokens != 0;
  }
  sequence->held_pages = CountHeldPages(*sequence);
  sequence->peak_pages = std::max(sequence->peak_pages, sequence->held_pages);
}

bool Scheduler::LeavesRoomToGrow(const Sequence& sequence, int64_t more_pages) const {
  if (running_.empty()) return true;
  const auto bytes = [&](const Sequence& s, int64_t pages) { return pages * cache_.page_bytes(s.spec.pool); };
  int64_t growth = bytes(sequence, sequence.most_pages() - sequence.needed_pages());
  for (const Sequence* other : running_) growth += bytes(*other, other->most_pages() - other->held_pages);
  return bytes(sequence, more_pages) + static_cast<int64_t>(options_.growth_reserve * growth) <=
         cache_.available_bytes();
}

// The groups that run, and that of the first in line, beginning behind the last plan's.
std::vector<uint64_t> Scheduler::GroupsInTurn(absl::Time now) const {
  std::vector<uint64_t> groups;
  const auto add = [&groups](const Sequence* sequence) {
    if (groups.empty() || groups.back() != sequence->spec.batch_group) groups.push_back(sequence->spec.batch_group);
  };
  for (const Sequence* sequence : running_) add(sequence);
  if (const Sequence* first = waiting_.Front(now); first != nullptr) add(first);
  std::sort(groups.begin(), groups.end());
  groups.erase(std::unique(groups.begin(), groups.end()), groups.end());
  std::rotate(groups.begin(), std::upper_bound(groups.begin(), groups.end(), last_group_), groups.end());
  return groups;
}

void Scheduler::PlanDecodes(uint64_t group, absl::Time now, int* budget, Plan* plan) {
  for (size_t i = 0; i < running_.size(); ++i) {
    Sequence* const sequence = running_[i];
    if (!sequence->decoding() || sequence->spec.batch_group != group) continue;
    if (!SecureNextToken(i, now, plan)) return;
    for (int branch = 0; branch < sequence->branches(); ++branch) {
      plan->rows.push_back({sequence, branch, sequence->computed, 1, /*replay=*/false, /*sample=*/true});
      --*budget;
    }
  }
}

// Pages for the next token of every branch of running_[index]; false if it was preempted itself.
bool Scheduler::SecureNextToken(size_t index, absl::Time now, Plan* plan) {
  Sequence* const sequence = running_[index];
  AccountPages(sequence, now);
  std::vector<PageCopy> copies;
  for (int branch = 0; branch < sequence->branches(); ++branch) {
    // The worst rank makes way, possibly this one itself. Those before it are in the plan already and stay.
    while (!SecurePage(sequence, &sequence->branch(branch), &copies)) {
      Preempt(running_.back(), now, plan);
      if (running_.size() == index) return false;
    }
  }
  plan->copies.insert(plan->copies.end(), copies.begin(), copies.end());
  sequence->held_pages = CountHeldPages(*sequence);
  sequence->peak_pages = std::max(sequence->peak_pages, sequence->held_pages);
  return true;
}

bool Scheduler::SecurePage(Sequence* sequence, Branch* branch, std::vector<PageCopy>* copies) {
  const int pool = sequence->spec.pool;
  const int index = branch->computed / kPageTokens;
  if (index == static_cast<int>(branch->pages.size())) return cache_.Grow(pool, 1, &branch->pages);
  if (sequence->beams.empty()) return true;
  CopyTail(sequence, branch, copies);
  int32_t from;
  if (!cache_.MakeWritable(pool, index, &branch->pages, &from)) return false;
  if (from >= 0) copies->push_back({pool, from, branch->pages[index]});
  return true;
}

void Scheduler::PlanPrefills(uint64_t group, absl::Time now, int budget, Plan* plan) {
  const size_t planned = running_.size();  // sorted; what is admitted below comes after
  bool may_admit = plan->preempted.empty();
  for (size_t i = 0; budget > 0;) {
    while (i < planned && (running_[i]->decoding() || running_[i]->spec.batch_group != group)) ++i;
    Sequence* next = i < planned ? running_[i] : nullptr;
    Sequence* first = may_admit ? waiting_.Front(now) : nullptr;
    if (first != nullptr && (running_rows_ + first->spec.beams > most_rows_ || first->spec.batch_group != group)) first = nullptr;
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
    PlanKnownTokens(next, &budget, plan);
  }
}

// The prompt's tokens, or after a preemption the generated ones: all of a single branch, whose next token the last one gives; all but the last of
// several, which then decode in lockstep.
void Scheduler::PlanKnownTokens(Sequence* sequence, int* budget, Plan* plan) {
  const bool replay = !sequence->prefilling();
  const int known = sequence->known_tokens();
  const int end = !replay ? sequence->prompt_tokens() : sequence->beams.empty() ? known : known - 1;
  for (int i = 0; i < (replay ? sequence->branches() : 1); ++i) {
    Branch& branch = sequence->branch(i);
    const int count = std::min(*budget, end - branch.computed);
    if (count == 0) continue;
    if (replay) CopyTail(sequence, &branch, &plan->copies);
    plan->rows.push_back({sequence, i, branch.computed, count, replay, branch.computed + count == known});
    *budget -= count;
  }
}

void Scheduler::Preempt(Sequence* sequence, absl::Time now, Plan* plan) {
  ReleasePages(sequence, now);
  running_.erase(std::find(running_.begin(), running_.end(), sequence));
  running_rows_ -= sequence->spec.beams;
  sequence->running = false;
  sequence->computed = 0;
  ++sequence->preemptions;
  waiting_.Add(sequence);
  plan->preempted.push_back(sequence);
}

void Scheduler::AccountPages(Sequence* sequence, absl::Time now) {
  sequence->page_seconds +=
      static_cast<double>(sequence->held_pages) * absl::ToDoubleSeconds(now - sequence->pages_since);
  sequence->pages_since = now;
}

void Scheduler::ReleasePages(Sequence* sequence, absl::Time now) {
  AccountPages(sequence, now);
  for (int i = 0; i < sequence->branches(); ++i) cache_.Release(sequence->spec.pool, &sequence->branch(i).pages);
  sequence->held_pages = 0;
}

void Scheduler::LeaveQueue(Sequence* sequence) {
  waiting_.Remove(sequence);
  if (sequence->admitted != absl::InfiniteFuture() || sequence->spec.accepted) return;
  --queued_;
  queued_tokens_ -= sequence->prompt_tokens();
}

std::unique_ptr<Sequence> Scheduler::Extract(Sequence* sequence) {
  auto node = sequences_.extract(sequence->id);
  return std::move(node.mapped());
}

}  // namespace precis::runtime
