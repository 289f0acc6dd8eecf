#include "runtime/model/gpu_batch.h"

#include <algorithm>
#include <utility>

#include "runtime/model/status_macros.h"

namespace precis::runtime {
namespace {

using kernels::GpuSamplingRow;
using kernels::kPageTokens;

constexpr int kRowEdits = 1024;  // that a device takes for a row
constexpr int kEditedRows = 1024;  // of a step, with so many each

int Pages(int tokens) { return (tokens + kPageTokens - 1) / kPageTokens; }

int RoundUp(int value, int step) { return (value + step - 1) / step * step; }

// Rows to run for so many: 1, 2, 4, 8, then steps that waste an eighth at most.
int RowBucket(int rows) {
  if (rows <= 2) return rows;
  int step = 4;
  while (step * 8 < rows) step *= 2;
  return RoundUp(rows, step);
}

// One split of the decode kernels, then powers of two.
int ContextBucket(int context, int most) {
  int bucket = 256;
  while (bucket < context) bucket *= 2;
  return std::min(bucket, most);
}

}  // namespace

bool IsDecode(const StepRow& row) { return row.replay || (row.sampling != nullptr && row.sampling->step() > 0); }

GpuBatch::Layout GpuBatch::MakeLayout(int64_t tokens, int64_t sequences, int64_t samples, int64_t stride) {
  Layout m;
  int64_t at = 0;
  const auto take = [&](int64_t count, int64_t size) { return std::exchange(at, at + (count * size + 255) / 256 * 256); };
  m.slots = take(tokens, sizeof(int64_t));
  m.tokens = take(tokens, sizeof(int32_t));
  m.positions = take(tokens, sizeof(int32_t));
  m.last = take(samples, sizeof(int32_t));
  m.begin = take(sequences, sizeof(int32_t));
  m.count = take(sequences, sizeof(int32_t));
  m.context = take(sequences, sizeof(int32_t));
  m.sampling = take(samples, sizeof(GpuSamplingRow));
  m.table = take(sequences * stride, sizeof(int32_t));
  m.edits = at;  // last, so that only the used part is copied
  return m;
}

int64_t GpuBatch::Bytes(int64_t tokens, int context_tokens) {
  const int64_t padded = tokens + kLogitRows / 4 + 16;  // what buckets add
  return MakeLayout(padded, padded, padded, Pages(context_tokens)).edits + std::min<int64_t>(tokens, kEditedRows) * kRowEdits * 4;
}

absl::Status GpuBatch::Reserve(int tokens, int context_tokens, int vocabulary, GpuMemory* memory) {
  context_tokens_ = context_tokens;
  vocabulary_ = vocabulary;
  capacity_bytes_ = Bytes(tokens, context_tokens);
  for (char*& host : hosts_) {
    PRECIS_ASSIGN(host, memory->AllocatePinned(capacity_bytes_, "a step's metadata"));
  }
  PRECIS_ASSIGN(device_, memory->Allocate(capacity_bytes_, "a step's metadata"));
  return absl::OkStatus();
}

// The sizes that the layout depends on.
void GpuBatch::Measure(absl::Span<const StepRow> rows, const StepPlan& plan) {
  decode_only_ = plan.logit_rows.size() == rows.size() && plan.tokens.size() == rows.size() && rows.size() <= kLogitRows &&
                 std::all_of(rows.begin(), rows.end(), IsDecode);
  int longest = 0, sequences = 0;
  for (const StepRow& row : rows) {
    longest = std::max(longest, row.position + static_cast<int>(row.tokens.size()));
    sequences += IsDecode(row) ? static_cast<int>(row.tokens.size()) : 1;  // a replayed token is a sequence of its own
  }
  tokens_ = static_cast<int>(plan.tokens.size());
  samples_ = static_cast<int>(plan.logit_rows.size());
  if (decode_only_) {
    longest = ContextBucket(longest, context_tokens_);
    sequences = 0;
    for (const StepPlan::Group& group : plan.groups) sequences += RowBucket(static_cast<int>(group.sequences.size()));
    tokens_ = samples_ = RowBucket(tokens_);
  }
  stride_ = Pages(longest);
  at_ = MakeLayout(tokens_, sequences, samples_, stride_);
}

void GpuBatch::AddSequence(int begin, int count, int context, const int32_t* pages) {
  const int i = sequences_++;
  Host<int32_t>(at_.begin)[i] = begin;
  Host<int32_t>(at_.count)[i] = count;
  Host<int32_t>(at_.context)[i] = context;
  int32_t* table = Host<int32_t>(at_.table) + int64_t{i} * stride_;
  const int used = Pages(context);
  std::copy_n(pages, used, table);
  std::fill(table + used, table + stride_, 0);
  GpuPart& part = parts_.back();
  ++part.count;
  part.max_query = std::max(part.max_query, count);
  part.max_context = std::max(part.max_context, context);
  part.total_queries += count;
}

void GpuBatch::AddSequences(absl::Span<const StepRow> rows, const StepPlan& plan, const StepPlan::Group& group, bool decode) {
  parts_.push_back({group.variant, decode, sequences_, 0, 0, 0, 0});
  for (size_t i = 0; i < rows.size(); ++i) {
    const StepRow& row = rows[i];
    if (row.variant->name != group.variant->name || IsDecode(row) != decode) continue;
    const int count = static_cast<int>(row.tokens.size()), begin = plan.last_token[i] - count + 1;
    if (!decode) AddSequence(begin, count, row.position + count, row.block_table);
    for (int j = 0; decode && j < count; ++j) AddSequence(begin + j, 1, row.position + j + 1, row.block_table);
  }
  if (parts_.back().count == 0) parts_.pop_back();
}

void GpuBatch::PadPart() {
  GpuPart& part = parts_.back();
  const int padded = RowBucket(part.count);
  while (part.count < padded) AddSequence(0, 0, 0, nullptr);
  part.total_queries = padded;
  part.max_context = std::min(stride_ * kPageTokens, context_tokens_);
}

void GpuBatch::FillTokens(const StepPlan& plan) {
  std::copy(plan.slots.begin(), plan.slots.end(), Host<int64_t>(at_.slots));
  std::copy(plan.tokens.begin(), plan.tokens.end(), Host<int32_t>(at_.tokens));
  std::copy(plan.positions.begin(), plan.positions.end(), Host<int32_t>(at_.positions));
  for (int i = static_cast<int>(plan.tokens.size()); i < tokens_; ++i) {
    Host<int64_t>(at_.slots)[i] = -1;
    Host<int32_t>(at_.tokens)[i] = Host<int32_t>(at_.positions)[i] = 0;
  }
}

// False: the host chooses the row's token. That depends on the row alone, unless more rows are edited than a step is likely to have.
bool GpuBatch::AppendEdits(const StepRow& row) {
  if (row.logits != nullptr) return false;
  const size_t before = edits_.size();
  if (!edit_list_.Append(*row.sampling, vocabulary_, kRowEdits, &edits_)) return false;
  if (at_.edits + static_cast<int64_t>(edits_.size()) * 4 <= capacity_bytes_) return true;
  edits_.resize(before);
  return false;
}

void GpuBatch::FillSampling(absl::Span<const StepRow> rows, const StepPlan& plan) {
  edits_.clear();
  host_samples_.clear();
  const int wanted = static_cast<int>(plan.logit_rows.size());
  for (int i = 0; i < samples_; ++i) {
    GpuSamplingRow& to = Host<GpuSamplingRow>(at_.sampling)[i] = {};
    to.top_p = to.repetition_penalty = 1;
    Host<int32_t>(at_.last)[i] = i < wanted ? plan.last_token[plan.logit_rows[i]] : i;
    if (i >= wanted) continue;
    const StepRow& row = rows[plan.logit_rows[i]];
    to.edit_begin = static_cast<int32_t>(edits_.size());
    const bool chosen_here = AppendEdits(row);
    to.edit_end = static_cast<int32_t>(edits_.size());
    if (!chosen_here) {
      host_samples_.push_back(i);
      continue;
    }
    const GenerationOptions& options = *row.sampling->options;
    to.temperature = options.temperature;
    to.top_p = options.top_p;
    to.repetition_penalty = options.repetition_penalty;
    to.top_k = options.top_k;
    to.seed = options.seed;
    to.step = static_cast<uint64_t>(row.sampling->step());
  }
  std::copy(edits_.begin(), edits_.end(), Host<int32_t>(at_.edits));
  used_bytes_ = at_.edits + static_cast<int64_t>(edits_.size()) * 4;
}

void GpuBatch::Fill(absl::Span<const StepRow> rows, const StepPlan& plan) {
  turn_ = 1 - turn_;
  host_ = hosts_[turn_];
  Measure(rows, plan);
  parts_.clear();
  sequences_ = 0;
  for (const StepPlan::Group& group : plan.groups) {
    if (group.sequences.empty()) continue;
    AddSequences(rows, plan, group, false);
    AddSequences(rows, plan, group, true);
    if (decode_only_) PadPart();
  }
  FillTokens(plan);
  FillSampling(rows, plan);
}

void GpuBatch::AppendShape(std::vector<int>* key) const {
  key->push_back(tokens_);
  for (const GpuPart& part : parts_) {
    for (int value : {static_cast<int>(part.variant->algorithm), part.count, part.max_context}) key->push_back(value);
  }
}

kernels::GpuSequences GpuBatch::Sequences(const GpuPart& part, int done, int count) const {
  const int first = part.first + done;
  return {.query_begin = Device<int32_t>(at_.begin) + first, .query_count = Device<int32_t>(at_.count) + first,
          .context_length = Device<int32_t>(at_.context) + first, .block_table = Device<int32_t>(at_.table) + int64_t{first} * stride_,
          .block_table_stride = stride_, .count = count, .max_query = part.max_query, .max_context = part.max_context,
          .total_queries = part.decode ? count : part.total_queries, .host_query_begin = Host<int32_t>(at_.begin) + first,
          .host_query_count = Host<int32_t>(at_.count) + first, .host_context_length = Host<int32_t>(at_.context) + first};
}

}  // namespace precis::runtime
