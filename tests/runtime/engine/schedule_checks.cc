#include "tests/runtime/engine/schedule_world.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace precis::testing {
namespace {

using runtime::kPriorities;
using runtime::PagesFor;
using runtime::Sequence;
using runtime::SequenceId;

}  // namespace

void ScheduleWorld::CheckEndedEarly(const Sequence& sequence) {
  for (int i = 0; i < sequence.branches(); ++i) {
    if (!sequence.branch(i).pages.empty()) Fail("ended while holding blocks");
  }
  ++(requests_.at(sequence.id).cancel_asked ? counts_.cancelled : counts_.expired);
  Ended(sequence, /*completed=*/false);
}

void ScheduleWorld::Ended(const Sequence& sequence, bool completed) {
  Request& request = requests_.at(sequence.id);
  ++request.ends;
  counts_.preemptions += sequence.preemptions;
  counts_.cached += sequence.cached_tokens;
  counts_.completed += completed;
  if (completed && (sequence.peak_pages < PagesFor(sequence.prompt_tokens()) || sequence.peak_pages > sequence.most_pages())) {
    Fail("the peak of blocks is not believable");
  }
  if (request.search != nullptr) return CheckBeamTokens(request, sequence, completed);
  const std::vector<int32_t> alone = Alone(request.spec);
  if (!completed) {
    // What there is of it must be the beginning.
    if (sequence.generated.size() > alone.size() ||
        !std::equal(sequence.generated.begin(), sequence.generated.end(), alone.begin())) {
      Fail(absl::StrCat("request ", sequence.id, " had wrong tokens when it was cut short"));
    }
    return;
  }
  if (sequence.generated != alone) Fail(absl::StrCat("request ", sequence.id, " got other tokens than alone"));
}

void ScheduleWorld::CheckBeamTokens(const Request& request, const Sequence& sequence, bool completed) {
  counts_.beam_preemptions += sequence.preemptions;
  counts_.beams += completed;
  const std::vector<Branches> alone = BeamsAlone(request);
  if (completed) {
    if (request.search->summary() != alone.back()[0]) Fail(absl::StrCat("request ", sequence.id, " got another summary than alone"));
    return;
  }
  const size_t length = sequence.generated.size();
  if (length == 0) return;
  if (length >= alone.size()) return Fail(absl::StrCat("request ", sequence.id, " ran too long"));
  for (int i = 0; i < sequence.branches(); ++i) {
    if (sequence.branch(i).generated != alone[length - 1][i]) Fail(absl::StrCat("request ", sequence.id, " had wrong beams"));
  }
}

void ScheduleWorld::CheckRow(const runtime::PlannedRow& row, const std::set<SequenceId>& running_before) {
  const Sequence& sequence = *row.sequence;
  const runtime::Branch& branch = sequence.branch(row.branch);
  const int end = row.position + row.count;
  if (!sequence.running || row.count < 1 || row.position != branch.computed) Fail("a row of nonsense");
  if (static_cast<int64_t>(branch.pages.size()) < PagesFor(end)) return Fail("too few blocks");
  if (row.position < sequence.prompt_tokens() && end > sequence.prompt_tokens()) Fail("a row crosses the end of the prompt");
  for (int page = row.position / kernels::kPageTokens; page < PagesFor(end); ++page) {
    // What is left of the prompt after a preemption is run once, for all branches.
    const bool own = row.position < sequence.prompt_tokens() && page < sequence.prompt_tokens() / kernels::kPageTokens;
    const int holders = own ? sequence.branches() : 1;
    if (cache_->pool(sequence.spec.pool).refs(branch.pages[page]) != holders) Fail("a row writes to a block of others");
  }
  if (requests_.at(sequence.id).cancel_asked) Fail("a cancelled request still runs");
  if (sequence.spec.deadline <= now_ && running_before.contains(sequence.id)) Fail("an expired request still runs");
  counts_.replays += row.replay;
}

void ScheduleWorld::CheckPlan(const runtime::Plan& plan, const std::set<SequenceId>& running_before) {
  int tokens = 0;
  std::set<std::pair<const Sequence*, int>> seen;
  std::map<const Sequence*, int> samples;
  for (const runtime::PlannedRow& row : plan.rows) {
    tokens += row.count;
    if (!seen.insert({row.sequence, row.branch}).second) Fail("a branch twice in a plan");
    samples[row.sequence] += row.sample;
    CheckRow(row, running_before);
  }
  for (const auto& [sequence, count] : samples) {
    if (count != 0 && count != sequence->branches()) Fail("the branches of a request are not in lockstep");
  }
  counts_.copies += static_cast<int64_t>(plan.copies.size());
  if (static_cast<int>(plan.rows.size()) > options_.max_batch_rows) Fail("too many rows");
  if (tokens > options_.max_step_tokens) Fail("too many tokens");
  if (plan.rows.empty() && !scheduler_->idle()) Fail("nothing goes forward");
  CheckGroups(plan, seen);
  CheckNoStarvation(running_before);
}

// A plan has rows of one group, with all of it that decodes; no group waits for longer than the others' turns.
void ScheduleWorld::CheckGroups(const runtime::Plan& plan, const std::set<std::pair<const Sequence*, int>>& planned) {
  if (plan.rows.empty()) return;
  const uint64_t group = plan.rows.front().sequence->spec.batch_group;
  for (const runtime::PlannedRow& row : plan.rows) {
    if (row.sequence->spec.batch_group != group) Fail("groups share a step");
  }
  for (const Sequence* sequence : scheduler_->running_sequences()) {
    if (sequence->spec.batch_group != group) {
      ++counts_.turns;
      if (sequence->decoding() && ++left_out_[sequence->id] > groups_) Fail("a group waits too long for its turn");
      continue;
    }
    left_out_[sequence->id] = 0;
    for (int i = 0; i < sequence->branches(); ++i) {
      if (sequence->decoding() && !planned.contains({sequence, i})) Fail("a decoding branch was left out");
    }
  }
}

// Whoever has waited through all classes is not overtaken by later arrivals.
void ScheduleWorld::CheckNoStarvation(const std::set<SequenceId>& running_before) {
  SequenceId latest_admitted = 0;
  std::set<SequenceId> running;
  for (const Sequence* sequence : scheduler_->running_sequences()) {
    running.insert(sequence->id);
    if (!running_before.contains(sequence->id)) latest_admitted = std::max(latest_admitted, sequence->id);
  }
  for (const auto& [id, request] : requests_) {
    if (request.ends > 0 || running.contains(id)) continue;
    const bool old = now_ - request.submitted >= options_.priority_aging * (kPriorities - 1);
    if (old && id < latest_admitted) Fail(absl::StrCat("request ", id, " starves"));
  }
}

void ScheduleWorld::CheckBounds() {
  if (scheduler_->queued() > options_.max_queued_requests) Fail("too many requests in the queue");
  if (scheduler_->queued_tokens() > options_.max_queued_tokens) Fail("too many tokens in the queue");
  int rows = 0;
  for (const Sequence* sequence : scheduler_->running_sequences()) {
    rows += sequence->spec.beams;
    std::set<int32_t> pages;
    for (int i = 0; i < sequence->branches(); ++i) pages.insert(sequence->branch(i).pages.begin(), sequence->branch(i).pages.end());
    if (static_cast<int64_t>(pages.size()) != sequence->held_pages) Fail("held blocks are not counted right");
  }
  if (rows > scheduler_->most_rows()) Fail("too many running");
  if (const char* problem = cache_->Check()) Fail(problem);
}

}  // namespace precis::testing
