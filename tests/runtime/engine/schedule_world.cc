#include "tests/runtime/engine/schedule_world.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace precis::testing {
namespace {

using runtime::kPriorities;
using runtime::Sequence;
using runtime::SequenceId;

}  // namespace

ScheduleWorld::ScheduleWorld(uint64_t seed) : random_(seed) {
  MakeOptions();
  std::vector<int64_t> page_bytes = {128};
  if (Chance(.4)) page_bytes.push_back(192);
  runtime::KvCache::Options cache;
  cache.budget_bytes = 192 * Uniform(3, 24);
  cache.prefix_cache = Chance(.8);
  if (Chance(.3)) cache.hash_mask = Uniform(0, 1);  // nearly everything collides
  cache.discard = [this](int pool, int32_t page) {
    const int64_t bytes = cache_->page_bytes(pool);
    std::fill_n(memory_[pool].begin() + page * bytes, bytes, '\xff');
  };
  cache_ = std::make_unique<runtime::KvCache>(page_bytes, cache);
  for (size_t i = 0; i < page_bytes.size(); ++i) {
    runners_.push_back(std::make_unique<FakeRunner>(FakeRunner::Options{
        kVocabulary, kEndOfText, kContext, page_bytes[i], i + 1, static_cast<float>(Uniform(-1, 1)) * .3f}));
    memory_.emplace_back(cache_->pages(i) * page_bytes[i], '\xff');
  }
  scheduler_ = std::make_unique<runtime::Scheduler>(options_, cache_.get());
}

void ScheduleWorld::MakeOptions() {
  options_.max_batch_rows = Uniform(1, 8);
  options_.max_step_tokens = Uniform(1, 64);
  options_.max_queued_requests = Uniform(1, 20);
  options_.max_queued_tokens = Uniform(60, 1000);
  options_.priority_aging = absl::Milliseconds(Uniform(5, 200));
  options_.growth_reserve = std::max(0, Uniform(-3, 4)) / 4.0;
  generation_.temperature = Chance(.5) ? 1 : 0;
  beam_share_ = Chance(.7) ? Uniform(1, 10) / 10.0 : 0;
  groups_ = Chance(.4) ? Uniform(1, 3) : 0;
  ahead_ = Chance(.5);
  to_submit_ = Uniform(1, 30);
  arrival_ = Uniform(1, 9) / 10.0;
  for (int i = 0; i < 3; ++i) {
    documents_.emplace_back();
    for (int j = 0; j < 100; ++j) documents_.back().push_back(Uniform(0, kVocabulary - 1));
  }
}

std::string ScheduleWorld::Run() {
  const int64_t bound = 40000;
  while (problem_.empty() && (to_submit_ > 0 || !scheduler_->idle())) {
    RandomEvents();
    Step();
    now_ += absl::Milliseconds(Uniform(0, 4));
    if (++counts_.steps > bound) Fail("it doesn't come to an end");
  }
  if (!problem_.empty()) return problem_;
  for (const auto& [id, request] : requests_) {
    if (request.ends != 1) Fail(absl::StrCat("request ", id, " ended ", request.ends, " times"));
  }
  if (cache_->live_bytes() != 0) Fail("blocks leaked");
  if (scheduler_->running() + scheduler_->waiting() + scheduler_->queued() != 0 || scheduler_->queued_tokens() != 0) {
    Fail("the counts don't return to zero");
  }
  return problem_;
}

void ScheduleWorld::Fail(const std::string& problem) {
  if (problem_.empty()) problem_ = problem;
}

void ScheduleWorld::RandomEvents() {
  while (to_submit_ > 0 && Chance(arrival_)) SubmitOne();
  if (Chance(.06)) CancelOne();
  if (Chance(.5)) Expire();
}

void ScheduleWorld::SubmitOne() {
  --to_submit_;
  ++counts_.requests;
  runtime::SequenceSpec spec;
  spec.pool = Uniform(0, cache_->pools() - 1);
  spec.variant = Uniform(0, 1);
  const auto& document = documents_[Uniform(0, 2)];
  spec.prompt.assign(document.begin(), document.begin() + Uniform(1, Chance(.3) ? 100 : 40));
  if (Chance(.3)) spec.prompt.back() = Uniform(0, kVocabulary - 1);
  spec.max_new_tokens = Uniform(1, 40);
  spec.batch_group = static_cast<uint64_t>(Uniform(0, groups_));
  if (Chance(beam_share_)) spec.beams = Uniform(1, std::min(8, scheduler_->most_rows()));
  spec.priority = static_cast<runtime::Priority>(Uniform(0, kPriorities - 1));
  if (Chance(.2)) spec.deadline = now_ + absl::Milliseconds(Uniform(0, 200));
  const int64_t prompt_tokens = static_cast<int64_t>(spec.prompt.size());
  const bool fits = runtime::PagesForBranches(prompt_tokens, prompt_tokens + spec.max_new_tokens, spec.beams) <=
                    cache_->pages(spec.pool);
  const bool room = scheduler_->queued() < options_.max_queued_requests;
  const bool token_room =
      scheduler_->queued_tokens() + prompt_tokens <= options_.max_queued_tokens;
  runtime::RejectReason reason = runtime::RejectReason::kDraining;
  const auto sequence = scheduler_->Enqueue(spec, now_, &reason);
  if (sequence.ok() != (fits && room && token_room)) Fail("accepted or refused against the bounds");
  if (!sequence.ok()) {
    const auto expected = !fits   ? runtime::RejectReason::kMemory
                          : !room ? runtime::RejectReason::kQueueFull
                                  : runtime::RejectReason::kQueueTokens;
    if (reason != expected) Fail("refused for a wrong reason");
    ++counts_.refused;
    return;
  }
  const auto [entry, added] = requests_.emplace((*sequence)->id, Request{spec, now_});
  if (!added) Fail("an id was given twice");
  if (spec.beams == 1) return;
  Request& request = entry->second;
  request.options.num_beams = spec.beams;
  request.options.max_new_tokens = spec.max_new_tokens;
  request.options.length_penalty = static_cast<float>(Uniform(-2, 4)) / 2;
  request.options.early_stopping = static_cast<runtime::EarlyStopping>(Uniform(0, 2));
  request.options.no_repeat_ngram_size = Uniform(0, 3);
  request.search = std::make_unique<runtime::BeamSearch>(request.options, kEndOfText);
}

void ScheduleWorld::CancelOne() {
  if (requests_.empty()) return;
  auto it = requests_.lower_bound(Uniform(0, static_cast<int>(requests_.rbegin()->first)));
  Request& request = it->second;
  const auto sequence = scheduler_->Cancel(it->first, now_);
  if (request.ends > 0) {
    if (sequence != nullptr) Fail("cancelled what had ended");
    return;
  }
  request.cancel_asked = true;
  if (sequence != nullptr) CheckEndedEarly(*sequence);
}

void ScheduleWorld::Expire() {
  for (const auto& sequence : scheduler_->ExpireQueued(now_)) {
    if (sequence->spec.deadline > now_) Fail("expired too early");
    CheckEndedEarly(*sequence);
  }
  if (scheduler_->next_queue_deadline() <= now_) Fail("the queue keeps what has expired");
}

void ScheduleWorld::Step() {
  for (const auto& sequence : scheduler_->Reap(now_)) {
    const Request& request = requests_.at(sequence->id);
    if (!request.cancel_asked && request.spec.deadline > now_) Fail("ended without a reason");
    CheckEndedEarly(*sequence);
  }
  std::set<SequenceId> before;
  for (const Sequence* sequence : scheduler_->running_sequences()) before.insert(sequence->id);
  const runtime::Plan plan = scheduler_->MakePlan(now_);
  CheckPlan(plan, before);
  CheckBounds();
  RandomEvents();  // while the step runs
  RunRows(plan);
  CheckBounds();
}

}  // namespace precis::testing
