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

// The token, if the row samples; -2 if the runner refuses.
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
  beam_share_ = Chance(.7) ? Uniform(1, 10) / 10.0 : 0;
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
  for (const Sequence* sequence : scheduler_->running_sequences()) {
    for (int i = 0; i < sequence->branches(); ++i) {
      if (sequence->decoding() && !seen.contains({sequence, i})) Fail("a decoding branch was left out");
    }
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

void ScheduleWorld::RunRows(const runtime::Plan& plan) {
  for (const runtime::PageCopy& copy : plan.copies) {
    runners_[copy.pool]->CopyPage({memory_[copy.pool].data(), cache_->pages(copy.pool)}, copy.from, copy.to);
  }
  for (size_t begin = 0, end = 0; begin < plan.rows.size(); begin = end) {
    Sequence* const sequence = plan.rows[begin].sequence;
    std::vector<std::vector<float>> logits;
    int32_t token = -1;
    for (; end < plan.rows.size() && plan.rows[end].sequence == sequence; ++end) {
      logits.emplace_back(kVocabulary);
      RunRow(plan.rows[end], &token, &logits.back());
    }
    for (size_t i = begin; i < end; ++i) scheduler_->Complete(plan.rows[i]);
    if (!plan.rows[begin].sample) continue;
    sequence->spec.beams > 1 ? TakeBeams(sequence, &logits) : TakeToken(sequence, token);
  }
}

void ScheduleWorld::RunRow(const runtime::PlannedRow& planned, int32_t* token, std::vector<float>* logits) {
  const Sequence& sequence = *planned.sequence;
  const runtime::Branch& branch = sequence.branch(planned.branch);
  const int pool = sequence.spec.pool;
  std::vector<int32_t> known = sequence.spec.prompt;
  known.insert(known.end(), branch.generated.begin(), branch.generated.end());
  const runtime::SamplingContext sampling = {&generation_, sequence.spec.prompt, branch.generated, kEndOfText};
  runtime::StepRow row;
  row.tokens = absl::MakeConstSpan(known).subspan(planned.position, planned.count);
  row.position = planned.position;
  row.block_table = branch.pages.data();
  row.variant = &kVariants[sequence.spec.variant];
  if (planned.sample) (sequence.spec.beams > 1 ? (void)(row.logits = logits->data()) : (void)(row.sampling = &sampling));
  *token = RunAlone(runners_[pool].get(), row, &memory_[pool], cache_->page_bytes(pool));
  if (*token == -2) Fail("the model refused a row");
}

void ScheduleWorld::TakeBeams(Sequence* sequence, std::vector<std::vector<float>>* logits) {
  runtime::BeamSearch& search = *requests_.at(sequence->id).search;
  std::vector<absl::Span<float>> rows;
  std::vector<absl::Span<const int32_t>> generated;
  for (int i = 0; i < sequence->branches(); ++i) {
    rows.push_back(absl::MakeSpan((*logits)[i]));
    generated.push_back(sequence->branch(i).generated);
  }
  if (search.Advance(rows, sequence->spec.prompt, generated)) return scheduler_->Advance(sequence, search.next(), now_);
  Ended(*scheduler_->Finish(sequence, now_), /*completed=*/true);
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

// With beams: everything is run anew for each beam and step, in pages of its own.
std::vector<ScheduleWorld::Branches> ScheduleWorld::BeamsAlone(const Request& request) {
  const runtime::SequenceSpec& spec = request.spec;
  std::vector<int32_t> table(PagesFor(kContext));
  for (size_t i = 0; i < table.size(); ++i) table[i] = static_cast<int32_t>(i);
  runtime::BeamSearch search(request.options, kEndOfText);
  std::vector<Branches> steps;
  Branches beams = {{}};
  while (true) {
    std::vector<std::vector<float>> logits(beams.size(), std::vector<float>(kVocabulary));
    std::vector<absl::Span<float>> rows;
    for (size_t i = 0; i < beams.size(); ++i) {
      std::vector<char> memory(table.size() * cache_->page_bytes(spec.pool));
      std::vector<int32_t> tokens = spec.prompt;
      tokens.insert(tokens.end(), beams[i].begin(), beams[i].end());
      runtime::StepRow row{tokens, 0, table.data(), &kVariants[spec.variant]};
      row.logits = logits[i].data();
      RunAlone(runners_[spec.pool].get(), row, &memory, cache_->page_bytes(spec.pool));
      rows.push_back(absl::MakeSpan(logits[i]));
    }
    const std::vector<absl::Span<const int32_t>> generated(beams.begin(), beams.end());
    if (!search.Advance(rows, spec.prompt, generated)) break;
    Branches next;
    for (const runtime::BeamChoice& choice : search.next()) {
      next.push_back(beams[choice.parent]);
      next.back().push_back(choice.token);
    }
    steps.push_back(beams = next);
  }
  steps.push_back({search.summary()});
  return steps;
}

}  // namespace precis::testing
