#include <algorithm>

#include "tests/runtime/engine/schedule_world.h"

namespace precis::testing {
namespace {

using runtime::PagesFor;
using runtime::Sequence;

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

void ScheduleWorld::RunRows(const runtime::Plan& plan) {
  for (const runtime::PageCopy& copy : plan.copies) {
    runners_[copy.pool]->CopyPage({memory_[copy.pool].data(), cache_->pages(copy.pool)}, copy.from, copy.to);
  }
  const auto may_follow = [](const runtime::PlannedRow& row) { return row.sample && row.sequence->spec.beams == 1; };
  if (ahead_ && std::all_of(plan.rows.begin(), plan.rows.end(), may_follow)) return RunAhead(plan.rows);
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

// As an engine whose device takes a step before it has given the tokens of the one before.
void ScheduleWorld::RunAhead(std::vector<runtime::PlannedRow> rows) {
  std::vector<int32_t> tokens(rows.size());
  for (size_t i = 0; i < rows.size(); ++i) RunRow(rows[i], &tokens[i], nullptr);
  while (!rows.empty()) {
    std::vector<int> after;
    const std::vector<runtime::PlannedRow> next = scheduler_->PlanAhead(rows, now_, &after);
    std::vector<runtime::SequenceId> ids;
    for (const runtime::PlannedRow& row : next) ids.push_back(row.sequence->id);
    const std::vector<int32_t> next_tokens = RunFollowers(next, after, tokens);
    RandomEvents();
    now_ += absl::Milliseconds(Uniform(0, 2));
    for (size_t i = 0; i < rows.size(); ++i) {
      scheduler_->Complete(rows[i]);
      TakeToken(rows[i].sequence, tokens[i]);
    }
    CheckBounds();
    rows.clear();
    tokens.clear();
    for (size_t i = 0; i < next.size(); ++i) {
      if (requests_.at(ids[i]).ends > 0) continue;
      rows.push_back(next[i]);
      tokens.push_back(next_tokens[i]);
    }
    counts_.ahead += !next.empty();
  }
}

std::vector<int32_t> ScheduleWorld::RunFollowers(const std::vector<runtime::PlannedRow>& rows, const std::vector<int>& after,
                                                 const std::vector<int32_t>& tokens) {
  if (rows.size() != after.size()) Fail("a row that follows nothing");
  std::vector<int32_t> next(rows.size());
  for (size_t i = 0; i < rows.size() && i < after.size(); ++i) RunRow(rows[i], &next[i], nullptr, &tokens.at(after[i]));
  return next;
}

// ahead_of: the token that the row runs, which its sequence doesn't have yet.
void ScheduleWorld::RunRow(const runtime::PlannedRow& planned, int32_t* token, std::vector<float>* logits, const int32_t* ahead_of) {
  const Sequence& sequence = *planned.sequence;
  const runtime::Branch& branch = sequence.branch(planned.branch);
  const int pool = sequence.spec.pool;
  std::vector<int32_t> known = sequence.spec.prompt;
  known.insert(known.end(), branch.generated.begin(), branch.generated.end());
  if (ahead_of != nullptr) known.push_back(*ahead_of);
  const runtime::SamplingContext sampling = {&generation_, sequence.spec.prompt, branch.generated, kEndOfText, ahead_of != nullptr ? 1 : 0};
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
