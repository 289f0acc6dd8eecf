#include "tests/support/fake_model.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace precis::testing {
namespace {

using runtime::KvMemory;
using runtime::StepRow;

// splitmix64's finaliser.
uint64_t Mix(uint64_t a, uint64_t b) {
  uint64_t z = a * 0x9E3779B97F4A7C15 + b + 0x632BE59BD9B4E019;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
  return z ^ (z >> 31);
}

uint64_t HashName(std::string_view name) {
  uint64_t hash = 17;
  for (char c : name) hash = Mix(hash, static_cast<unsigned char>(c));
  return hash;
}

char* Slot(const KvMemory& memory, int64_t page_bytes, const StepRow& row, int position) {
  return memory.base + row.block_table[position / kernels::kPageTokens] * page_bytes +
         position % kernels::kPageTokens * sizeof(uint64_t);
}

}  // namespace

std::vector<int32_t> FakeTokenizer::Encode(std::string_view text) const {
  std::vector<int32_t> ids;
  for (char c : text) ids.push_back(static_cast<unsigned char>(c));
  return ids;
}

std::string FakeTokenizer::DecodeBytes(const std::vector<int32_t>& ids) const {
  std::string text;
  for (int32_t id : ids) text += TokenBytes(id);
  return text;
}

std::string_view FakeTokenizer::TokenBytes(int32_t id) const {
  static const std::string* const bytes = [] {
    auto* all = new std::string;
    for (int i = 0; i < 256; ++i) all->push_back(static_cast<char>(i));
    return all;
  }();
  return id < 0 || id > 255 ? std::string_view() : std::string_view(*bytes).substr(id, 1);
}

FakeRunner::FakeRunner(const Options& options) : options_(options), logits_(options.vocabulary) {
  config_.n_layer = config_.n_head = config_.n_embd = 1;
  config_.n_positions = options.context_tokens;
  config_.vocab_size = options.vocabulary;
  config_.eos_token_id = options.end_of_text;
}

absl::Status FakeRunner::Step(absl::Span<const StepRow> rows, const KvMemory& memory, bool timed,
                              absl::Span<runtime::StepOutput> outputs, runtime::StepStats* stats) {
  ++steps;
  if (on_step) {
    absl::Status status = on_step(rows);
    if (!status.ok()) return status;
  }
  for (size_t i = 0; i < rows.size(); ++i) {
    absl::Status status = RunRow(rows[i], memory, &outputs[i]);
    if (!status.ok()) return status;
    bool known = false;
    for (auto& variant : stats->variants) known |= variant.variant == rows[i].variant;
    if (!known) stats->variants.push_back({rows[i].variant, absl::Microseconds(timed ? 1 : 0), 256});
  }
  stats->activations_bytes = ActivationBytes(static_cast<int>(rows.size()), 0);
  return absl::OkStatus();
}

absl::Status FakeRunner::Launch(absl::Span<const StepRow> rows, const KvMemory& memory, bool timed) {
  if (flights_.size() > 1) return absl::InternalError("two steps are under way");
  std::vector<StepRow> known(rows.begin(), rows.end());
  for (StepRow& row : known) {
    if (row.after < 0) continue;
    if (flights_.empty() || row.tokens.size() != 1) return absl::InternalError("no step to come after");
    row.tokens = absl::MakeConstSpan(&flights_.back().outputs.at(row.after).token, 1);
    if (row.tokens[0] < 0) return absl::InternalError("after a row without a token");
  }
  if (!flights_.empty()) ++steps_ahead;
  Flight flight;
  flight.outputs.resize(rows.size());
  absl::Status status = Step(known, memory, timed, absl::MakeSpan(flight.outputs), &flight.stats);
  if (status.ok()) flights_.push_back(std::move(flight));
  return status;
}

absl::Status FakeRunner::Collect(absl::Span<runtime::StepOutput> outputs, runtime::StepStats* stats) {
  if (flights_.empty()) return absl::InternalError("no step is under way");
  std::copy(flights_.front().outputs.begin(), flights_.front().outputs.end(), outputs.begin());
  *stats = std::move(flights_.front().stats);
  flights_.pop_front();
  return absl::OkStatus();
}

absl::Status FakeRunner::RunRow(const StepRow& row, const KvMemory& memory, runtime::StepOutput* output) {
  const int end = row.position + static_cast<int>(row.tokens.size());
  if (end > options_.context_tokens) return absl::InternalError("past the context");
  for (int i = 0; i < (end + kernels::kPageTokens - 1) / kernels::kPageTokens; ++i) {
    if (row.block_table[i] < 0 || row.block_table[i] >= memory.pages) return absl::InternalError("no such page");
  }
  uint64_t state = Mix(options_.seed, HashName(row.variant->name));
  for (int position = 0; position < end; ++position) {
    char* slot = Slot(memory, options_.page_bytes, row, position);
    uint64_t value;
    if (position >= row.position) {
      value = Mix(state, Mix(row.tokens[position - row.position], position));
      std::memcpy(slot, &value, sizeof(value));
    }
    std::memcpy(&value, slot, sizeof(value));
    state = Mix(state, value);
  }
  if (row.sampling == nullptr && row.logits == nullptr) return absl::OkStatus();
  FillLogits(state);
  if (row.logits != nullptr) std::copy(logits_.begin(), logits_.end(), row.logits);
  if (row.sampling == nullptr) return absl::OkStatus();
  if (on_logits) on_logits(row, logits_);
  output->token = runtime::SampleToken(absl::MakeSpan(logits_), *row.sampling);
  return absl::OkStatus();
}

void FakeRunner::FillLogits(uint64_t state) {
  for (int id = 0; id < options_.vocabulary; ++id) {
    logits_[id] = static_cast<float>(Mix(state, id) >> 40) * 0x1p-24f;
    const bool letter = (id >= 'a' && id <= 'z') || id == ' ';
    if (options_.letters_only && !letter && id != options_.end_of_text) logits_[id] = -100;
    if (id == options_.end_of_text) logits_[id] += options_.end_of_text_bias;
  }
}

void FakeRunner::CopyPage(const KvMemory& memory, int32_t from, int32_t to) {
  std::memcpy(memory.base + to * options_.page_bytes, memory.base + from * options_.page_bytes,
              options_.page_bytes);
}

std::unique_ptr<runtime::Catalog> FakeCatalog(const std::vector<FakeCheckpoint>& checkpoints,
                                              std::vector<FakeRunner*>* runners) {
  auto model = std::make_unique<runtime::Model>();
  model->name = "fake";
  for (const FakeCheckpoint& fake : checkpoints) {
    auto checkpoint = std::make_unique<runtime::Checkpoint>();
    checkpoint->name = fake.name;
    checkpoint->tokenizer = std::make_shared<FakeTokenizer>();
    for (const std::string& name : fake.variants) {
      checkpoint->variants.push_back(kernels::FindAttentionVariant(name));
    }
    auto runner = std::make_unique<FakeRunner>(fake.options);
    if (runners != nullptr) runners->push_back(runner.get());
    checkpoint->runner = std::move(runner);
    model->checkpoints.push_back(std::move(checkpoint));
  }
  model->default_variant = model->checkpoints.front()->variants.front();
  std::vector<std::unique_ptr<runtime::Model>> models;
  models.push_back(std::move(model));
  return std::make_unique<runtime::Catalog>(std::move(models));
}

}  // namespace precis::testing
