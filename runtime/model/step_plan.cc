#include "runtime/model/step_plan.h"

#include "runtime/model/status_macros.h"
#include "runtime/model/text.h"

namespace precis::runtime {
namespace {

using kernels::kPageTokens;

absl::Status CheckRow(const StepRow& row, const StepPlan::Limits& limits) {
  if (row.tokens.empty()) return absl::InternalError("has no tokens");
  if (row.variant == nullptr) return absl::InternalError("has no attention variant");
  if (row.variant->positions != limits.positions) {
    return absl::InternalError(Cat("asks for ", row.variant->name, ", but this checkpoint has ",
                                   kernels::PositionsName(limits.positions), " positions"));
  }
  if (row.position < 0 || row.position > limits.context_tokens - static_cast<int64_t>(row.tokens.size())) {
    return absl::InternalError(Cat("has ", row.tokens.size(), " tokens at position ", row.position,
                                   ", past the context of ", limits.context_tokens));
  }
  if (row.block_table == nullptr) return absl::InternalError("has no block table");
  return absl::OkStatus();
}

}  // namespace

StepPlan::StepPlan() {
  for (const kernels::AttentionVariant& variant : kernels::AttentionVariants()) groups.push_back({&variant, {}, {}});
}

void StepPlan::Clear() {
  for (Group& group : groups) {
    group.sequences.clear();
    group.time = absl::ZeroDuration();
    group.workspace_bytes = 0;
  }
  tokens.clear();
  positions.clear();
  slots.clear();
  logit_rows.clear();
  last_token.clear();
}

int64_t StepPlan::BytesPerToken() {
  return 2 * sizeof(int32_t) + sizeof(int64_t) + 2 * sizeof(int) + sizeof(kernels::AttentionSequence);
}

absl::Status StepPlan::Add(const StepRow& row, const Limits& limits) {
  PRECIS_TRY(CheckRow(row, limits));
  const int begin = static_cast<int>(tokens.size());
  const int count = static_cast<int>(row.tokens.size());
  for (int p = 0; p < row.position + count; p += kPageTokens) {
    const int32_t page = row.block_table[p / kPageTokens];
    if (page < 0 || page >= limits.pages) {
      return absl::InternalError(Cat("has page ", page, " of ", limits.pages, " in its block table"));
    }
  }
  for (int i = 0; i < count; ++i) {
    if (row.tokens[i] < 0 || row.tokens[i] >= limits.vocab_size) {
      return absl::InternalError(Cat("has token ", row.tokens[i], " of a vocabulary of ", limits.vocab_size));
    }
    const int position = row.position + i;
    tokens.push_back(row.tokens[i]);
    positions.push_back(position);
    slots.push_back(int64_t{row.block_table[position / kPageTokens]} * kPageTokens + position % kPageTokens);
  }
  for (Group& group : groups) {
    if (group.variant->name == row.variant->name) {
      group.sequences.push_back({begin, count, row.position + count, row.block_table});
    }
  }
  last_token.push_back(begin + count - 1);
  return absl::OkStatus();
}

absl::Status StepPlan::Build(absl::Span<const StepRow> rows, const Limits& limits) {
  Clear();
  for (size_t i = 0; i < rows.size(); ++i) {
    if (absl::Status status = Add(rows[i], limits); !status.ok()) {
      return absl::InternalError(Cat("step row ", i, " ", status.message()));
    }
    if (rows[i].sampling != nullptr || rows[i].logits != nullptr) logit_rows.push_back(static_cast<int>(i));
  }
  return absl::OkStatus();
}

}  // namespace precis::runtime
