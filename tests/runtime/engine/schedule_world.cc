#include "tests/runtime/engine/schedule_world.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace precis::testing {
namespace {

using runtime::kPriorities;
using runtime::PagesFor;
using runtime::Sequence;
using runtime::SequenceId;

constexpr int kVocabulary = 12;
constexpr int kEndOfText = 0;
constexpr int kContext = 160;

const kernels::AttentionVariant kVariants[] = {
    {"one", "", kernels::Algorithm::kTiled, kernels::Positions::kLearned},
    {"two", "", kernels::Algorithm::kMaterialised, kernels::Positions::kLearned},
};

int32_t RunAlone(FakeRunner* runner, const runtime::StepRow& row, std::vector<char>* memory, int64_t page_bytes) {
  runtime::StepOutput output;
  runtime::StepStats stats;
  const runtime::KvMemory kv = {memory->data(), static_cast<int64_t>(memory->size()) / page_bytes};
  const absl::Status status = runner->Step({&row, 1}, kv, false, {&output, 1}, &stats);
  return status.ok() ? output.token : -2;
}

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
  spec.priority = static_cast<runtime::Priority>(Uniform(0, kPriorities - 1));
  if (Chance(.2)) spec.deadline = now_ + absl::Milliseconds(Uniform(0, 200));
  const bool fits = PagesFor(spec.prompt.size() + spec.max_new_tokens) <= cache_->pages(spec.pool);
  const bool room = scheduler_->queued() < options_.max_queued_requests;
  const bool token_room =
      scheduler_->queued_tokens() + static_cast<int64_t>(spec.prompt.size()) <= options_.max_queued_tokens;
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
  if (!requests_.emplace((*sequence)->id, Request{spec, now_}).second) Fail("an id was given twice");
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

void ScheduleWorld::CheckEndedEarly(const Sequence& sequence) {
  if (!sequence.pages.empty()) Fail("ended while holding blocks");
  ++(requests_.at(sequence.id).cancel_asked ? counts_.cancelled : counts_.expired);
  Ended(sequence, /*completed=*/false);
}

void ScheduleWorld::Ended(const Sequence& sequence, bool completed) {
  Request& request = requests_.at(sequence.id);
  ++request.ends;
  counts_.preemptions += sequence.preemptions;
  counts_.cached += sequence.cached_tokens;
  const std::vector<int32_t> alone = Alone(request.spec);
  if (!completed) {
    // What there is of it must be the beginning.
    if (sequence.generated.size() > alone.size() ||
        !std::equal(sequence.generated.begin(), sequence.generated.end(), alone.begin())) {
      Fail(absl::StrCat("request ", sequence.id, " had wrong tokens when it was cut short"));
    }
    return;
  }
  ++counts_.completed;
  if (sequence.generated != alone) Fail(absl::StrCat("request ", sequence.id, " got other tokens than alone"));
  if (sequence.peak_pages < PagesFor(sequence.prompt_tokens()) || sequence.peak_pages > sequence.most_pages()) {
    Fail("the peak of blocks is not believable");
  }
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

void ScheduleWorld::CheckPlan(const runtime::Plan& plan, const std::set<SequenceId>& running_before) {
  int tokens = 0;
  std::set<const Sequence*> seen;
  for (const runtime::PlannedRow& row : plan.rows) {
    tokens += row.count;
    const Sequence& sequence = *row.sequence;
    if (!seen.insert(&sequence).second) Fail("a sequence twice in a plan");
    if (!sequence.running || row.count < 1 || row.position != sequence.computed) Fail("a row of nonsense");
    if (static_cast<int64_t>(sequence.pages.size()) < PagesFor(row.position + row.count)) Fail("too few blocks");
    if (row.position < sequence.prompt_tokens() && row.position + row.count > sequence.prompt_tokens()) {
      Fail("a row crosses the end of the prompt");
    }
    if (requests_.at(sequence.id).cancel_asked) Fail("a cancelled request still runs");
    if (sequence.spec.deadline <= now_ && running_before.contains(sequence.id)) Fail("an expired request still runs");
    counts_.replays += row.replay;
  }
  if (static_cast<int>(plan.rows.size()) > options_.max_batch_rows) Fail("too many rows");
  if (tokens > options_.max_step_tokens) Fail("too many tokens");
  if (plan.rows.empty() && !scheduler_->idle()) Fail("nothing goes forward");
  for (const Sequence* sequence : scheduler_->running_sequences()) {
    if (sequence->decoding() && !seen.contains(sequence)) Fail("a decoding sequence was left out");
  }
  CheckNoStarvation(running_before);
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
  if (scheduler_->running() > options_.max_batch_rows) Fail("too many running");
  if (const char* problem = cache_->Check()) Fail(problem);
}

void ScheduleWorld::RunRows(const runtime::Plan& plan) {
  for (const runtime::PlannedRow& planned : plan.rows) {
    Sequence* const sequence = planned.sequence;
    const int pool = sequence->spec.pool;
    std::vector<int32_t> known = sequence->spec.prompt;
    known.insert(known.end(), sequence->generated.begin(), sequence->generated.end());
    const runtime::SamplingContext sampling = {&generation_, sequence->spec.prompt, sequence->generated, kEndOfText};
    runtime::StepRow row;
    row.tokens = absl::MakeConstSpan(known).subspan(planned.position, planned.count);
    row.position = planned.position;
    row.block_table = sequence->pages.data();
    row.variant = &kVariants[sequence->spec.variant];
    if (planned.sample) row.sampling = &sampling;
    const int32_t token = RunAlone(runners_[pool].get(), row, &memory_[pool], cache_->page_bytes(pool));
    if (token == -2) Fail("the model refused a row");
    scheduler_->Complete(planned);
    if (planned.sample) TakeToken(sequence, token);
  }
}

void ScheduleWorld::TakeToken(Sequence* sequence, int32_t token) {
  if (token != kEndOfText) scheduler_->Append(sequence, token);
  const bool full = static_cast<int>(sequence->generated.size()) == sequence->spec.max_new_tokens;
  if (token != kEndOfText && !full) return;
  const auto ended = scheduler_->Finish(sequence, now_);
  if (!ended->pages.empty()) Fail("finished while holding blocks");
  Ended(*ended, /*completed=*/true);
}

// The tokens of the request with the machine to itself: one prefill, then one token at a time.
std::vector<int32_t> ScheduleWorld::Alone(const runtime::SequenceSpec& spec) {
  const int64_t page_bytes = cache_->page_bytes(spec.pool);
  std::vector<char> memory(PagesFor(kContext) * page_bytes);
  std::vector<int32_t> table(PagesFor(kContext)), generated;
  for (size_t i = 0; i < table.size(); ++i) table[i] = static_cast<int32_t>(i);
  std::vector<int32_t> tokens = spec.prompt;
  int position = 0;
  while (static_cast<int>(generated.size()) < spec.max_new_tokens) {
    const runtime::SamplingContext sampling = {&generation_, spec.prompt, generated, kEndOfText};
    runtime::StepRow row{tokens, position, table.data(), &kVariants[spec.variant], &sampling};
    const int32_t token = RunAlone(runners_[spec.pool].get(), row, &memory, page_bytes);
    if (token == kEndOfText) break;
    position += static_cast<int>(tokens.size());
    tokens = {token};
    generated.push_back(token);
  }
  return generated;
}

}  // namespace precis::testing
